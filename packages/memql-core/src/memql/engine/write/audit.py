"""The rows of ``@audit``: one per run of a construct, whether it succeeded or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

from memql.auth import system
from memql.engine.context import RequestContext
from memql.errors import MemqlError

__all__ = ["AUDIT_CONCEPT", "audit_row"]

AUDIT_CONCEPT: Final = "v1:platform:auditEntry"


def audit_row(
    kind: Literal["mutation", "automation", "policy"],
    construct: str,
    target: str | None,
    error: MemqlError | None,
    ctx: RequestContext,
) -> tuple[str, dict[str, Any], RequestContext]:
    """The concept, payload and context (the system's) of the row about one run.

    :param target: the id of the row that was written or was to be, when it is known.
    :param error: what the run ended with, None for success.
    """
    payload = {
        "construct": construct,
        "kind": kind,
        "actor": ctx.actor.created_by,
        "role": ctx.actor.role,
        "targetId": target or None,
        "outcome": "failure" if error else "success",
        "code": error.code.value if error else None,
        "occurredAt": ctx.now_text,
    }
    provenance = {"kind": "system", "name": "audit"}
    return AUDIT_CONCEPT, payload, replace(ctx, actor=system("system:audit"), provenance=provenance)
