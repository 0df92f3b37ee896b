"""One subscription on the client's side: what the server is asked for, and the queue that events wait in."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from memql.client.model import Event
from memql.errors import Code, MemqlError
from memql.wire import messages
from memql.wire.generated import message_bytes
from memql.wire.structs import to_struct

__all__ = ["EventStream", "Subscription", "subscription_kind"]

_ACTIONS = {
    "created": messages.GraphNodeAction.CREATED,
    "updated": messages.GraphNodeAction.UPDATED,
    "deleted": messages.GraphNodeAction.DELETED,
}


def subscription_kind(name: str | None) -> messages.SubscriptionKind:
    """The wire value of a kind such as ``graph_events`` (the default) or ``all``.

    :raises MemqlError: ``INVALID_ARGUMENT`` for another name.
    """
    wanted = (name or "graph_events").upper()
    kinds = {kind.name: kind for kind in messages.SubscriptionKind if kind}
    if wanted in kinds:
        return kinds[wanted]
    known = ", ".join(sorted(kind.lower() for kind in kinds))
    raise MemqlError(Code.INVALID_ARGUMENT, f"{name!r} is not a kind of subscription; there are {known}")


class Subscription:
    """A bounded queue of events that survives streams.

    When it is full the oldest event goes and the next one that is read carries ``gap_before``.
    """

    def __init__(
        self,
        id: str,
        *,
        kind: str | None,
        filter: str,
        concept: str | None,
        actions: Sequence[str],
        resume_after: str | None,
        buffer: int,
    ) -> None:
        self.id = id
        self._kind = subscription_kind(kind)
        self._filter = filter
        self._concept = concept or ""
        self._actions = [_action(name) for name in actions]
        self._cursor = resume_after or ""
        self._buffer = max(buffer, 1)
        self._queue: collections.deque[Event] = collections.deque()
        self._gap = False
        self._changed = anyio.Event()
        self._ended = False
        self._error: MemqlError | None = None
        self._link: object = None
        self._was_confirmed = False

    def attach(self, link: object) -> None:
        """From now on only that stream's events count."""
        self._link = link

    def is_attached(self, link: object) -> bool:
        """Whether that stream's events count."""
        return link is self._link

    def request(self) -> bytes:
        """The subscribe message; it resumes after the last event seen."""
        message = messages.SubscribeMsg(
            subscription_id=self.id,
            kind=self._kind,
            filter=self._filter,
            concept=self._concept,
            actions=self._actions,
        )
        if self._cursor:
            message.config = to_struct({"resumeAfter": self._cursor})
        return message_bytes(message)

    def confirmed(self, cursor: str) -> None:
        """The server agreed. ``cursor`` is where the subscription begins, if the server told."""
        if not self._cursor:
            # Without a position to resume from, what happened while the stream was down is unknown.
            self._gap = self._gap or self._was_confirmed
            self._cursor = cursor
        self._was_confirmed = True

    def deliver(self, link: object, event: Event) -> None:
        """Queue an event; never waits. Events of a stream that was replaced are dropped: the new one has
        them."""
        if link is not self._link or self._ended:
            return
        if event.cursor:
            self._cursor = event.cursor
        if len(self._queue) >= self._buffer:
            self._queue.popleft()
            self._mark_gap()
        if self._gap and not self._queue:
            event, self._gap = replace(event, gap_before=True), False
        self._queue.append(event)
        self._changed.set()

    def end(self, error: MemqlError | None) -> None:
        """No more events; the queued ones can still be read."""
        self._ended = True
        self._error = error
        self._changed.set()

    async def next(self) -> Event:
        """The next event.

        :raises StopAsyncIteration: after the last one of a closed subscription.
        :raises MemqlError: when the session gave up.
        """
        while not self._queue:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()
        return self._queue.popleft()

    def _mark_gap(self) -> None:
        if self._queue:
            self._queue[0] = replace(self._queue[0], gap_before=True)
        else:
            self._gap = True


class EventStream:
    """The events of one subscription, to iterate over."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def id(self) -> str:
        """The subscription's id."""
        return self._subscription.id

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        return await self._subscription.next()

    async def next(self, timeout: float | None = None) -> Event:
        """The next event.

        :param timeout: seconds to wait; None waits as long as the subscription lives.
        :raises MemqlError: ``TIMEOUT`` when none came, or why the session gave up.
        """
        try:
            with anyio.fail_after(timeout):
                return await self._subscription.next()
        except TimeoutError:
            raise MemqlError(Code.TIMEOUT, f"no event within {timeout:g} s") from None
        except StopAsyncIteration:
            raise MemqlError(Code.CANCELLED, "the subscription is closed") from None


def _action(name: str) -> Any:
    if name in _ACTIONS:
        return _ACTIONS[name]
    raise MemqlError(
        Code.INVALID_ARGUMENT, f"{name!r} is not an action of a row; there are created, updated and deleted"
    )
