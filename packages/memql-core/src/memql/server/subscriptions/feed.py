"""One subscription: from the bus and the log to its client, each event once (spec "Subscriptions and events").

A feed registers at the bus before it reads the log, so nothing falls between the two; a :class:`Position` drops what
comes both ways.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from memql.errors import Code, MemqlError
from memql.events import Delivery, Event
from memql.events import Subscription as BusSubscription
from memql.events.kinds import kind_number
from memql.events.topics import Pattern, compile_patterns, root_of
from memql.server.replies import coded, notice
from memql.server.subscriptions.patterns import HIDDEN_FROM_DOMAIN, patterns_of
from memql.server.subscriptions.position import Position, first_place, last_place, place, version_of
from memql.server.subscriptions.tail import LogTail
from memql.wire.frames import EventFrame
from memql.wire.messages import SubscribeMsg, SubscriptionKind
from memql.wire.structs import from_struct

if TYPE_CHECKING:
    from memql.server.session import Session

__all__ = ["Feed"]

log = logging.getLogger(__name__)

_BATCH = 256
_NO_END = 2**62
_MANY_AHEAD = 64
_RETRY_SECONDS = 1.0


class Feed:
    """A live subscription of one session."""

    def __init__(self, session: Session, subscription_id: str, message: SubscribeMsg, message_id: str) -> None:
        self.id = subscription_id
        self.scope = anyio.CancelScope()
        self._session = session
        self._message = message
        self._message_id = message_id
        self._patterns: tuple[Pattern, ...] = ()
        self._answered = False
        self._withdrawn: MemqlError | None = None
        self._seq = 0
        self._gap = False
        self._taken = 0
        self._position: Position | None = None
        self._located = False
        self._marks: deque[tuple[int, int]] = deque()
        self._readers = 0
        self._replaying = False
        self._replay_again = False
        self._lock = anyio.Lock()

    async def run(self) -> None:
        """Subscribe, acknowledge and deliver until cancelled."""
        with self.scope:
            try:
                await self._serve()
            except Exception as error:
                await self._report(coded(error))
        if self._withdrawn is not None:
            await self._report(self._withdrawn)
        elif not self._answered and self.scope.cancel_called:
            await self._report(MemqlError(Code.CANCELLED, "the subscription ended before it began"))

    def recheck(self) -> bool:
        """Whether the caller may still subscribe so widely; if not, the subscription ends and tells its client."""
        try:
            patterns_of(self._message, self._session.principal.actor)
        except MemqlError as error:
            self._withdrawn = error
            self.scope.cancel()
        return self._withdrawn is None

    async def _serve(self) -> None:
        session = self._session
        texts = patterns_of(self._message, session.principal.actor)
        self._patterns = compile_patterns(texts)
        tail = session.services.tail if any(p.root in {None, "graph"} for p in self._patterns) else None
        resume = str(from_struct(self._message.config).get("resumeAfter") or "")
        if tail is None and resume:
            raise MemqlError(Code.INVALID_ARGUMENT, "config.resumeAfter goes with graph events only")
        capacity = session.limits.event_queue
        name = f"{session.id}/{self.id}"
        async with session.services.bus.subscribe(texts, capacity=capacity, name=name, demands=True) as live:
            if tail is not None:
                await self._locate(tail, resume)
            await self._acknowledge(texts)
            if tail is None:
                await self._pump(live)
            else:
                await self._follow(tail, live, resume=bool(resume))

    async def _follow(self, tail: LogTail, live: BusSubscription, *, resume: bool) -> None:
        failure: MemqlError | None = None
        since = version_of(self._position.settled) if self._located and self._position else None
        async with anyio.create_task_group() as tasks:
            follower = _Follower(self, tail, live, tasks)
            tail.follow(follower, since)
            try:
                if resume:
                    await self._catch_up(tail, live)
                await self._pump(live)
            except MemqlError as error:
                failure = error
            finally:
                tail.unfollow(follower)
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # --- beginning -------------------------------------------------------------------------------------------------

    async def _locate(self, tail: LogTail, resume: str) -> None:
        """Find where in the log the subscription begins: at its cursor, else now."""
        if resume:
            self._position = Position.parse(resume)
            self._located = True
            oldest = await tail.log.oldest()
            self._gap = 0 < self._position.settled < first_place(oldest) - 1
            return
        settled = await tail.log.settled()
        # Nothing is known to be settled: true of an empty log, else a long transaction hides it for now.
        self._located = settled > 0 or await tail.log.oldest() == 0
        ahead = await tail.log.visible_after(settled) if self._located else ()
        both = (place for number in ahead for place in range(first_place(number), last_place(number) + 1))
        self._position = Position(last_place(settled), both)

    async def _acknowledge(self, patterns: Sequence[str]) -> None:
        self._answered = True
        fields = {
            "status": "subscribed",
            "subscriptionId": self.id,
            "subscriptionKind": f"SUBSCRIPTION_KIND_{self._message.kind.name}",
            "patterns": list(patterns),
        }
        begins = self._position.cursor() if self._located and self._position is not None else ""
        await self._session.send(notice(self.id, "subscription-created", fields, cursor=begins), self._message_id)

    async def _report(self, error: MemqlError) -> None:
        self._answered = True
        fields = {
            "error": error.code.value,
            "message": error.message,
            "retryable": error.retryable,
            "subscriptionId": self.id,
        }
        await self._session.send(notice(self.id, "subscription-error", fields), self._message_id)

    # --- delivering ------------------------------------------------------------------------------------------------

    async def _pump(self, live: BusSubscription) -> None:
        async for delivery in live:
            await self._take(delivery, gap=delivery.gap_before)

    async def _take(self, delivery: Delivery, *, gap: bool) -> None:
        self._gap = self._gap or gap
        await self.offer(delivery.event)
        self._taken = delivery.seq
        self._apply_marks()

    async def offer(self, event: Event) -> None:
        """Deliver an event unless it came before, is hidden, or may not be read."""
        if self._message.kind is SubscriptionKind.DOMAIN_EVENTS and root_of(event.topic) in HIDDEN_FROM_DOMAIN:
            return
        position = self._position if event.log_seq is not None else None
        # Recorded before anything waits: the other way may bring the same event meanwhile.
        if position is not None and not position.admit(place(event)):
            return
        said = await self._shown(event)
        async with self._lock:
            if position is not None:
                position.finish(place(event))
            if said is not None:
                self._seq += 1
                gap, self._gap = self._gap, False
                await self._session.send(self._frame(event, said, gap=gap))
        if position is not None and position.ahead > _MANY_AHEAD and self._session.services.tail:
            self._session.services.tail.hurry()

    async def _shown(self, event: Event) -> Mapping[str, Any] | None:
        """What the event says, if the subscriber may know it."""
        try:
            may_read = await self._session.services.engine.may_read(event, self._session.principal.actor)
            return event.payload if may_read else None
        except MemqlError as error:
            log.warning("subscription %s leaves out an event it cannot check: %s", self.id, error)
            self._gap = True
            return None

    def _frame(self, event: Event, said: Mapping[str, Any], *, gap: bool) -> EventFrame:
        payload = {**said, "topic": event.topic, "eventKind": event.kind.lower()}
        known = self._located and self._position is not None and event.log_seq is not None
        cursor = self._position.cursor() if known and self._position is not None else ""
        return EventFrame(self.id, kind_number(event.kind), event.timestamp, payload, self._seq, gap, cursor)

    # --- the log ---------------------------------------------------------------------------------------------------

    async def _catch_up(self, tail: LogTail, live: BusSubscription) -> None:
        """Deliver what the log has past the position, until the bus alone is enough."""
        while True:
            dropped = live.statistics().dropped
            await self.replay(tail)
            if live.statistics().dropped == dropped:
                break
        # What overflowed while the log was read has been read there; only later overflows are gaps.
        for delivery in live.take(live.capacity):
            await self._take(delivery, gap=False)

    async def replay(self, tail: LogTail) -> None:
        """Deliver everything committed past the position, at the client's pace; once more if asked meanwhile."""
        if self._replaying:
            self._replay_again = True
            return
        self._replaying = True
        self.begin_reading()
        try:
            while True:
                self._replay_again = False
                await self._read_through(tail)
                if not self._replay_again:
                    return
        finally:
            self._replaying = False
            self.end_reading()

    async def _read_through(self, tail: LogTail) -> None:
        position = self._position
        assert position is not None
        settled = await tail.log.settled()
        after = version_of(position.settled)
        while batch := await tail.log.read(after, _NO_END, _BATCH):
            for event in self.matching(batch):
                await self.offer(event)
            after = batch[-1].log_seq or after
            position.settle(last_place(min(after, settled)))
        position.settle(last_place(settled))

    def begin_reading(self) -> None:
        """From here on rows of the log are being delivered: marks wait, they may lie past rows still to come."""
        self._readers += 1

    def end_reading(self) -> None:
        """They are delivered."""
        self._readers -= 1
        self._apply_marks()

    def mark(self, offered: int, settled: int) -> None:
        """The log is settled up to ``settled`` as far as the first ``offered`` events of the bus go."""
        self._marks.append((offered, settled))
        self._apply_marks()

    def _apply_marks(self) -> None:
        while not self._readers and self._marks and self._marks[0][0] <= self._taken:
            _, settled = self._marks.popleft()
            self._located = True
            if self._position is not None:
                self._position.settle(last_place(settled))

    def matching(self, events: Sequence[Event]) -> list[Event]:
        """Those of the events that the subscription asks for."""
        return [event for event in events if any(pattern.matches(event.topic) for pattern in self._patterns)]


class _Follower:
    """A feed as the tail sees it: what the log brings is delivered in tasks of the feed."""

    def __init__(self, feed: Feed, tail: LogTail, live: BusSubscription, tasks: TaskGroup) -> None:
        self._feed = feed
        self._tail = tail
        self._live = live
        self._tasks = tasks

    def log_moved(self, settled: int, missed: Sequence[Event] | None) -> None:
        """See :class:`~memql.server.subscriptions.tail.Follower`."""
        offered = self._live.statistics().offered
        wanted = None if missed is None else self._feed.matching(missed)
        if wanted is not None and not wanted:
            self._feed.mark(offered, settled)
            return
        self._feed.begin_reading()
        self._feed.mark(offered, settled)
        self._tasks.start_soon(self._hand_over, wanted, name=f"log of {self._feed.id}")

    async def _hand_over(self, wanted: Sequence[Event] | None) -> None:
        if wanted is None:
            await self._replay()
        for event in wanted or ():
            await self._feed.offer(event)
        self._feed.end_reading()

    async def _replay(self) -> None:
        while True:
            try:
                await self._feed.replay(self._tail)
            except MemqlError as error:
                # Marks wait until this is read, so nothing is passed over meanwhile.
                log.warning("subscription %s cannot read the log: %s", self._feed.id, error)
                await anyio.sleep(_RETRY_SECONDS)
            else:
                return
