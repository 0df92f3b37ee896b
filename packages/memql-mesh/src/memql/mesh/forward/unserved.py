"""Requests of the protocol that no role of this release serves: each is answered, so that nobody waits (spec
"Payloads").

The workbench, the agent's gateway to users' machines and the deployment console bring their own takers.
"""

from __future__ import annotations

from typing import Final

import betterproto2

from memql.errors import Code
from memql.mesh.frames import Taker
from memql.mesh.links.link import Link
from memql.mesh.wire.messages import (
    DeployControlForwardRequest,
    DeployControlForwardResponse,
    WorkbenchForwardCancel,
    WorkbenchForwardRequest,
    WorkbenchForwardResponse,
    WorkerForwardCancel,
    WorkerForwardRequest,
    WorkerForwardResponse,
)

__all__ = ["unserved_takers"]

_CODE: Final = Code.UNIMPLEMENTED.value
_REASON: Final = "no role on this node serves this"


def unserved_takers() -> dict[type[betterproto2.Message], Taker]:
    """Takers that refuse."""

    def workbench(link: Link, message: WorkbenchForwardRequest) -> None:
        link.post(
            WorkbenchForwardResponse(request_id=message.request_id, error_code="not_configured", error_message=_REASON)
        )

    def deploy_control(link: Link, message: DeployControlForwardRequest) -> None:
        link.post(DeployControlForwardResponse(request_id=message.request_id, error_code=_CODE, error_message=_REASON))

    def worker(link: Link, message: WorkerForwardRequest) -> None:
        link.post(
            WorkerForwardResponse(
                request_id=message.request_id, error_code=_CODE, error_message=_REASON, refused_before_start=True
            )
        )

    def nothing_to_stop(link: Link, message: betterproto2.Message) -> None:
        return None

    return {
        WorkbenchForwardRequest: workbench,
        DeployControlForwardRequest: deploy_control,
        WorkerForwardRequest: worker,
        WorkbenchForwardCancel: nothing_to_stop,
        WorkerForwardCancel: nothing_to_stop,
    }
