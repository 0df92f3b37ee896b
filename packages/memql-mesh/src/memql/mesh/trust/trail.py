"""What is written down about nodes that were not let in (spec "Audit").

A node that is refused tries again, and whoever attacks tries often: equal refusals of a few seconds become one event
with a count, so that the trail tells of all of them and grows with time, not with attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio

from memql.auth import system
from memql.engine.audit_trail import AuditEvent
from memql.errors import Code
from memql.mesh import metrics

__all__ = ["Refusal", "Trail"]

_EVERY: Final = 5.0
_MOST: Final = 64
_OTHERS: Final = "many"
_BY: Final = system("system:mesh")


class Refusal(NamedTuple):
    """One kind of refusal: its code and why, from which host, and of which node it was said to be."""

    code: Code
    reason: str
    host: str
    node_id: str = ""
    node_type: str = ""


class Trail:
    """See the module.

    :param record: writes one event.
    :param every: seconds between writings.
    """

    def __init__(self, record: Callable[[AuditEvent], Awaitable[None]], *, every: float = _EVERY) -> None:
        self._record = record
        self._every = every
        self._waiting: dict[Refusal, int] = {}
        self._occupied = anyio.Event()

    def note(self, refusal: Refusal) -> None:
        """A node was refused."""
        metrics.refused.labels(refusal.code.value).inc()
        if refusal not in self._waiting and len(self._waiting) >= _MOST:
            refusal = Refusal(refusal.code, refusal.reason, _OTHERS)
        self._waiting[refusal] = self._waiting.get(refusal, 0) + 1
        self._occupied.set()

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await self._occupied.wait()
            self._occupied = anyio.Event()
            waiting, self._waiting = self._waiting, {}
            for refusal, attempts in waiting.items():
                await self._record(_event(refusal, attempts))
            await anyio.sleep(self._every)


def _event(refusal: Refusal, attempts: int) -> AuditEvent:
    return AuditEvent(
        category="auth",
        action="node_stream_refused",
        actor=_BY,
        detail={"nodeId": refusal.node_id, "nodeType": refusal.node_type, "attempts": attempts},
        source_ip=refusal.host,
        outcome="blocked",
        failure_reason=refusal.reason,
    )
