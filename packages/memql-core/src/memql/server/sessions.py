"""All open streams of a node: counted, kept alive, drained (spec "Drain accounting")."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import anyio

from memql.errors import Code, MemqlError
from memql.server import metrics
from memql.server.replies import notice
from memql.server.session import HEARTBEAT_SECONDS, Session
from memql.wire.messages import HeartbeatMsg

__all__ = ["CloseReason", "OpenStream", "Sessions"]

log = logging.getLogger(__name__)

CloseReason = Literal["client", "drain", "error"]
_HEARTBEAT_CHECK = 5.0


@dataclass(slots=True, eq=False)
class OpenStream:
    """One open stream; ``reason`` is why it ends, ``ended`` cancels its transport."""

    session: Session
    ended: anyio.CancelScope
    reason: CloseReason = "client"

    def close(self, reason: CloseReason) -> None:
        """End the stream from this side."""
        self.reason = reason
        self.ended.cancel()


class Sessions:
    """The registry. ``draining`` once :meth:`begin_drain` was called, ``refusing`` once new streams are refused."""

    def __init__(self) -> None:
        self._open: set[OpenStream] = set()
        self.draining = False
        self.refusing = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def opened(self, session: Session, ended: anyio.CancelScope) -> Iterator[OpenStream]:
        """Count a stream while the block runs."""
        stream = OpenStream(session, ended)
        self._open.add(stream)
        metrics.active_streams.inc()
        try:
            yield stream
        except BaseException:
            if stream.reason == "client" and not ended.cancel_called:
                stream.reason = "error"
            raise
        finally:
            self._open.discard(stream)
            metrics.active_streams.dec()
            metrics.streams_closed.labels(reason=stream.reason).inc()

    def require_open(self) -> None:
        """Refuse a new stream while draining.

        :raises MemqlError: ``UNAVAILABLE``.
        """
        if self.refusing:
            raise MemqlError(Code.UNAVAILABLE, "the node is shutting down; connect to another one")

    async def keep_alive(self) -> None:
        """Send a heartbeat to every stream that was sent nothing for 30 s; runs until cancelled."""
        while True:
            await anyio.sleep(_HEARTBEAT_CHECK)
            quiet_since = time.monotonic() - HEARTBEAT_SECONDS + _HEARTBEAT_CHECK / 2
            for stream in tuple(self._open):
                if stream.session.last_sent <= quiet_since:
                    stream.session.post(HeartbeatMsg(ts=datetime.now(UTC)))

    def begin_drain(self, grace_seconds: float) -> None:
        """Tell the clients that announced ``drain-notice``; streams and requests are served on."""
        self.draining = True
        fields = {"graceSeconds": grace_seconds}
        for stream in tuple(self._open):
            if "drain-notice" in stream.session.features:
                stream.session.post(notice("", "server-draining", fields))

    async def finish_drain(self, budget_seconds: float) -> None:
        """Refuse what is new, end every stream once its requests are answered, and all of them after the budget."""
        self.refusing = True
        refusal = MemqlError(Code.UNAVAILABLE, "the node is shutting down; repeat the request on another one")
        streams = tuple(self._open)
        for stream in streams:
            stream.session.refusal = refusal
        with anyio.move_on_after(budget_seconds) as budget:
            async with anyio.create_task_group() as waiting:
                for stream in streams:
                    waiting.start_soon(_end_when_idle, stream)
        if budget.cancelled_caught:
            cut = [stream for stream in self._open if stream.session.inflight]
            log.warning("%d streams still had unfinished requests after %g s", len(cut), budget_seconds)
        self.close_all()

    def close_all(self) -> None:
        """End every stream now."""
        self.refusing = True
        for stream in tuple(self._open):
            stream.close("drain")


async def _end_when_idle(stream: OpenStream) -> None:
    await stream.session.wait_idle()
    stream.close("drain")
