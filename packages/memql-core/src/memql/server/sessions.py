"""All open streams of a node: counted, kept alive, drained (spec "Drain accounting")."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import anyio

from memql.auth.revocation import RevocationWatch
from memql.errors import Code, MemqlError
from memql.events import Event, EventKind
from memql.ids import new_id
from memql.server import metrics
from memql.server.keeper import Keeper
from memql.server.ports import Principal
from memql.server.replies import notice
from memql.server.session import HEARTBEAT_SECONDS, Session
from memql.wire.messages import HeartbeatMsg

__all__ = ["CloseReason", "OpenStream", "Sessions"]

log = logging.getLogger(__name__)

CloseReason = Literal["client", "drain", "error", "revoked", "expired"]
_HEARTBEAT_CHECK = 5.0


@dataclass(slots=True, eq=False)
class OpenStream:
    """One open stream; ``reason`` is why it ends, ``ended`` cancels its transport, ``ending`` is what its client is
    told when this side ends it, ``moves`` whether it was told that the node drains, and goes by itself."""

    session: Session
    ended: anyio.CancelScope
    reason: CloseReason = "client"
    ending: MemqlError | None = None
    moves: bool = False

    def close(self, reason: CloseReason, ending: MemqlError) -> None:
        """End the stream from this side."""
        self.reason = reason
        self.ending = ending
        self.ended.cancel()


class Sessions:
    """The registry. ``draining`` once :meth:`begin_drain` was called, ``refusing`` once new streams are refused.

    :param watch: tells of revoked credentials.
    :param publish: takes ``session.opened`` and ``session.closed``.
    """

    def __init__(self, watch: RevocationWatch | None = None, publish: Callable[[Event], None] | None = None) -> None:
        self._watch = watch
        self._publish = publish
        self._open: set[OpenStream] = set()
        self._left = anyio.Event()
        self.draining = False
        self.refusing = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def opened(self, session: Session, ended: anyio.CancelScope) -> Iterator[OpenStream]:
        """Count a stream, and hold it to its credential, while the block runs."""
        stream = OpenStream(session, ended)
        session.keeper = Keeper(session, stream.close, self._watch)
        self._open.add(stream)
        metrics.active_streams.inc()
        self._announce(EventKind.SESSION_OPENED, session.principal)
        try:
            with session.keeper:
                yield stream
        except BaseException:
            if stream.reason == "client" and not ended.cancel_called:
                stream.reason = "error"
            raise
        finally:
            self._open.discard(stream)
            self._left.set()
            metrics.active_streams.dec()
            metrics.streams_closed.labels(reason=stream.reason).inc()
            self._announce(EventKind.SESSION_CLOSED, session.principal)

    def _announce(self, kind: EventKind, principal: Principal) -> None:
        if self._publish is None:
            return
        who = {
            "subject": principal.subject,
            "email": principal.actor.primary_email,
            "firstName": principal.given_name,
            "lastName": principal.family_name,
            "role": principal.actor.role,
            "phoneNumber": principal.phone,
        }
        topic = "session.opened" if kind is EventKind.SESSION_OPENED else "session.closed"
        self._publish(Event(id=new_id(), topic=topic, body=who, kind=kind.name, actor=principal.subject))

    def require_open(self) -> None:
        """Refuse a new stream while draining.

        :raises MemqlError: ``UNAVAILABLE``.
        """
        if self.refusing:
            raise _shutting_down()

    async def keep_alive(self) -> None:
        """Send a heartbeat to every stream that was sent nothing for 30 s; runs until cancelled."""
        while True:
            await anyio.sleep(_HEARTBEAT_CHECK)
            quiet_since = time.monotonic() - HEARTBEAT_SECONDS + _HEARTBEAT_CHECK / 2
            for stream in tuple(self._open):
                if stream.session.last_sent <= quiet_since:
                    stream.session.post(HeartbeatMsg(ts=datetime.now(UTC)))

    def begin_drain(self, grace_seconds: float) -> None:
        """Tell the clients that announced ``drain-notice``; streams and requests are served on, new ones too."""
        self.draining = True
        self._ask_to_move(grace_seconds)

    async def finish_drain(self, budget_seconds: float, moving_seconds: float = 0.0) -> None:
        """Refuse new streams, and let clients that were told move; then refuse what is new, end every stream once its
        requests are answered, and all of them after the budget.

        :param moving_seconds: how long clients may take to move, of the budget.
        """
        self.refusing = True
        with anyio.move_on_after(budget_seconds) as budget:
            # A balancer that had not noticed yet has brought some back here since the others were told.
            self._ask_to_move(budget_seconds)
            await self._let_move(moving_seconds)
            await self._let_finish()
        if budget.cancelled_caught:
            cut = [stream for stream in self._open if stream.session.inflight]
            log.warning("%d streams still had unfinished requests after %g s", len(cut), budget_seconds)
        self.close_all()

    def _ask_to_move(self, grace_seconds: float) -> None:
        for stream in tuple(self._open):
            if not stream.moves and "drain-notice" in stream.session.features:
                stream.moves = True
                stream.session.post(notice("", "server-draining", {"graceSeconds": grace_seconds}))

    async def _let_move(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while any(stream.moves for stream in self._open):
                self._left = anyio.Event()
                await self._left.wait()

    async def _let_finish(self) -> None:
        refusal = _shutting_down("repeat the request on another one")
        async with anyio.create_task_group() as waiting:
            for stream in tuple(self._open):
                stream.session.refusal = refusal
                waiting.start_soon(_end_when_idle, stream)

    def close_all(self) -> None:
        """End every stream now."""
        self.refusing = True
        for stream in tuple(self._open):
            stream.close("drain", _shutting_down())


async def _end_when_idle(stream: OpenStream) -> None:
    await stream.session.wait_idle()
    stream.close("drain", _shutting_down())


def _shutting_down(advice: str = "connect to another one") -> MemqlError:
    return MemqlError(Code.UNAVAILABLE, f"the node is shutting down; {advice}")
