"""The bus of one process: publish never waits, and each subscription has its own bounded, ordered queue.

Not thread-safe: publish and subscribe on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import NamedTuple

from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.events.topics import Pattern, compile_patterns, root_of

__all__ = ["Bus", "BusStatistics", "Delivery", "Subscription", "SubscriptionStatistics"]

_CACHED_TOPICS = 4096
_TOPIC_AND_DEMAND = attrgetter("topic", "demanded")


class Delivery(NamedTuple):
    """One event as one subscription sees it.

    ``seq`` counts the matching events of the subscription from 1, dropped ones included; ``gap_before`` says
    that some were dropped just before this one because the queue was full.
    """

    event: Event
    seq: int
    gap_before: bool


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """What one subscription has seen: events offered, dropped, and waiting now."""

    name: str
    patterns: tuple[str, ...]
    offered: int
    dropped: int
    waiting: int


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """Totals since start; ``dropped`` counts (event, subscription) pairs, ended subscriptions included."""

    published: int
    delivered: int
    dropped: int
    subscriptions: tuple[SubscriptionStatistics, ...]


class Subscription:
    """An ordered stream of deliveries for one reader. Registered while its ``async with`` block runs.

    Iteration ends when the block ends or the bus closes; what was queued before that is still delivered.
    """

    __slots__ = (
        "_bus",
        "_closed",
        "_dropped",
        "_last",
        "_offered",
        "_queue",
        "_reading",
        "_ready",
        "capacity",
        "demands",
        "name",
        "patterns",
        "takes_demanded",
    )

    def __init__(
        self,
        bus: Bus,
        patterns: tuple[Pattern, ...],
        capacity: int,
        name: str,
        *,
        takes_demanded: bool,
        demands: bool,
    ) -> None:
        """Use :meth:`Bus.subscribe`."""
        self.patterns = patterns
        self.capacity = capacity
        self.name = name
        self.takes_demanded = takes_demanded
        self.demands = demands
        self._bus = bus
        self._queue: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._reading = False
        self._offered = 0
        self._dropped = 0
        self._last = 0

    async def __aenter__(self) -> Subscription:
        self._bus._register(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus._unregister(self)
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            await self._wait()
        return self._pop()

    def take(self, limit: int) -> list[Delivery]:
        """What is queued now, at most ``limit``, without waiting."""
        queue = self._queue
        count = min(limit, len(queue))
        if not count:
            return []
        first = self._pop()
        last = self._last = first.seq + count - 1
        return [first, *(Delivery(queue.popleft(), seq, False) for seq in range(first.seq + 1, last + 1))]

    def statistics(self) -> SubscriptionStatistics:
        """Counts of this subscription."""
        texts = tuple(pattern.text for pattern in self.patterns)
        return SubscriptionStatistics(self.name, texts, self._offered, self._dropped, len(self._queue))

    def close(self) -> None:
        """End the iteration once the queue is empty."""
        self._closed = True
        self._ready.set()

    def _offer(self, event: Event) -> None:
        """Queue an event."""
        self._queue.append(event)
        self._offered += 1
        if len(self._queue) > self.capacity:
            self._drop_oldest()
        if not self._ready.is_set():
            self._ready.set()

    def _offer_all(self, events: Sequence[Event]) -> None:
        """Queue several."""
        self._queue.extend(events)
        self._offered += len(events)
        if len(self._queue) > self.capacity:
            self._drop_oldest()
        if not self._ready.is_set():
            self._ready.set()

    def _drop_oldest(self) -> None:
        while len(self._queue) > self.capacity:
            self._queue.popleft()
            self._dropped += 1

    async def _wait(self) -> None:
        if self._reading:
            raise MemqlError(Code.INTERNAL, f"subscription {self.name!r} already has a reader; subscribe twice instead")
        self._reading = True
        self._ready.clear()
        try:
            await self._ready.wait()
        finally:
            self._reading = False

    def _pop(self) -> Delivery:
        # Events leave at the front only, so the number of the first is known from how many there are.
        seq = self._offered - len(self._queue) + 1
        gap = seq != self._last + 1
        self._last = seq
        return Delivery(self._queue.popleft(), seq, gap)


class _Tap(NamedTuple):
    """Who is told as events are published, and of which."""

    listener: Callable[[Event], None]
    local: bool
    remote: bool
    root: str | None


class _Reach(NamedTuple):
    """Whom the events of a topic reach."""

    subscriptions: tuple[Subscription, ...]
    local_taps: tuple[Callable[[Event], None], ...]
    remote_taps: tuple[Callable[[Event], None], ...]


class Bus:
    """Events of one process, to whoever subscribed to their topic."""

    def __init__(self) -> None:
        """An open bus without subscriptions."""
        self._by_root: dict[str | None, list[Subscription]] = {}
        self._by_topic: dict[str, _Reach] = {}
        self._demanded_by_topic: dict[str, _Reach] = {}
        self._taps: list[_Tap] = []
        self._demand: Counter[str] = Counter()
        self._demand_listeners: list[Callable[[], None]] = []
        self._live: dict[int, Subscription] = {}
        self._published = 0
        self._delivered = 0
        self._ended_dropped = 0
        self._closed = False

    def publish(self, event: Event) -> None:
        """Offer an event to every subscription with a matching pattern, once each. Never waits, never
        raises."""
        self._published += 1
        known = self._demanded_by_topic if event.demanded else self._by_topic
        subscriptions, local_taps, remote_taps = known.get(event.topic) or self._find_reach(event.topic, known)
        if subscriptions:
            self._delivered += len(subscriptions)
            for subscription in subscriptions:
                subscription._offer(event)
        for listen in remote_taps if event.origin else local_taps:
            listen(event)

    def reaches(self, topic: str, *, demanded: bool = False) -> bool:
        """Whether anybody here would be told of an event of another node: subscriptions and taps are asked."""
        known = self._demanded_by_topic if demanded else self._by_topic
        subscriptions, _, remote_taps = known.get(topic) or self._find_reach(topic, known)
        return bool(subscriptions or remote_taps)

    def publish_remote(self, events: Sequence[Event]) -> None:
        """Publish events that came from other nodes, in order: they come in batches, and mostly about one thing."""
        for (topic, demanded), run in groupby(events, key=_TOPIC_AND_DEMAND):
            together = list(run)
            known = self._demanded_by_topic if demanded else self._by_topic
            reach = known.get(topic) or self._find_reach(topic, known)
            self._published += len(together)
            self._delivered += len(reach.subscriptions) * len(together)
            for subscription in reach.subscriptions:
                subscription._offer_all(together)
            for listen in reach.remote_taps:
                for event in together:
                    listen(event)

    @contextmanager
    def tap(
        self, listener: Callable[[Event], None], *, local: bool = True, remote: bool = True, root: str | None = None
    ) -> Iterator[None]:
        """Hand every event to ``listener`` as it is published, while the block runs. It must not wait or raise.

        :param local: whether to hand over events of this node.
        :param remote: whether to hand over those of others.
        :param root: only events whose topic begins with that segment.
        """
        tap = _Tap(listener, local, remote, root)
        self._taps.append(tap)
        self._forget_reaches()
        try:
            yield
        finally:
            self._taps.remove(tap)
            self._forget_reaches()

    def subscribe(
        self,
        patterns: str | Iterable[str],
        *,
        capacity: int = 256,
        name: str = "subscription",
        takes_demanded: bool = False,
        demands: bool = False,
    ) -> Subscription:
        """A subscription to one or several patterns, registered by ``async with``.

        :param capacity: how many events may wait; when more come the oldest go, and the next delivery says
            so.
        :param takes_demanded: also get events that were brought to this node for its clients only.
        :param demands: have such events brought: the patterns are part of :attr:`demand`.
        :raises MemqlError: ``INVALID_ARGUMENT`` for a pattern that is none, or a capacity below 1.
        """
        compiled = compile_patterns(patterns)
        if capacity < 1 or not compiled:
            raise MemqlError(Code.INVALID_ARGUMENT, "a subscription needs at least one pattern and room for one event")
        takes = takes_demanded or demands
        return Subscription(self, compiled, capacity, name, takes_demanded=takes, demands=demands)

    @property
    def demand(self) -> frozenset[str]:
        """The patterns that clients of this node have subscribed to, wherever the events happen."""
        return frozenset(self._demand)

    def on_demand(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when :attr:`demand` has changed; it must not wait or raise."""
        self._demand_listeners.append(listener)

    def statistics(self) -> BusStatistics:
        """Counts since start."""
        each = tuple(subscription.statistics() for subscription in self._live.values())
        dropped = self._ended_dropped + sum(one.dropped for one in each)
        return BusStatistics(self._published, self._delivered, dropped, each)

    def close(self) -> None:
        """End every subscription; each reader still gets what is queued."""
        self._closed = True
        for subscription in self._live.values():
            subscription.close()

    def _register(self, subscription: Subscription) -> None:
        if self._closed:
            raise MemqlError(Code.UNAVAILABLE, "the event bus is closed: the node is shutting down")
        self._live[id(subscription)] = subscription
        for root in _roots(subscription):
            self._by_root.setdefault(root, []).append(subscription)
        self._forget_reaches()
        if subscription.demands:
            self._change_demand(subscription, 1)

    def _unregister(self, subscription: Subscription) -> None:
        if self._live.pop(id(subscription), None) is None:
            return
        self._ended_dropped += subscription.statistics().dropped
        for root in _roots(subscription):
            others = self._by_root[root]
            others.remove(subscription)
            if not others:
                del self._by_root[root]
        self._forget_reaches()
        if subscription.demands:
            self._change_demand(subscription, -1)

    def _change_demand(self, subscription: Subscription, by: int) -> None:
        before = len(self._demand)
        for pattern in subscription.patterns:
            self._demand[pattern.text] += by
            if not self._demand[pattern.text]:
                del self._demand[pattern.text]
        if len(self._demand) != before:
            for listener in self._demand_listeners:
                listener()

    def _forget_reaches(self) -> None:
        self._by_topic.clear()
        self._demanded_by_topic.clear()

    def _find_reach(self, topic: str, known: dict[str, _Reach]) -> _Reach:
        """Whom a topic's events reach, kept in ``known``."""
        root = root_of(topic)
        near = {*self._by_root.get(root, ()), *self._by_root.get(None, ())}
        if known is self._demanded_by_topic:
            near = {one for one in near if one.takes_demanded}
        taps = [tap for tap in self._taps if tap.root in (None, root)]
        reach = _Reach(
            tuple(one for one in self._live.values() if one in near and any(p.matches(topic) for p in one.patterns)),
            tuple(tap.listener for tap in taps if tap.local),
            tuple(tap.listener for tap in taps if tap.remote),
        )
        if len(known) >= _CACHED_TOPICS:
            known.clear()
        known[topic] = reach
        return reach


def _roots(subscription: Subscription) -> set[str | None]:
    return {pattern.root for pattern in subscription.patterns}
