"""The requests of this node that other nodes are answering now (spec "Forwarding").

Each has one entry, from before it is sent until its last answer. Whatever ends it early, the other side is told once
and stops; whatever comes for it afterwards is dropped and counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import anyio
import betterproto2

from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.links.link import Link
from memql.mesh.options import Options

__all__ = ["Entry", "InFlight"]

_MAX_ID: Final = 128

Cancel: TypeAlias = Callable[[str], betterproto2.Message]


class Entry:
    """One request in flight: its answers arrive in order, and end with one that is marked, or with an error.

    One task reads it.

    :param capacity: how many answers may wait to be read.
    :param cancel: makes the message that tells the other side to stop; None for requests that need none.
    """

    def __init__(self, request_id: str, link: Link, capacity: int, cancel: Cancel | None) -> None:
        self.request_id = request_id
        self.link = link
        self.ended = False
        """Whether nothing more is expected."""
        self._capacity = capacity
        self._cancel = cancel
        self._error: MemqlError | None = None
        self._answers: deque[Any] = deque()
        self._awaited: asyncio.Future[None] | None = None
        self._room: anyio.Event | None = None

    async def next(self) -> Any:
        """The next answer.

        :raises MemqlError: when the request has failed.
        :raises anyio.EndOfStream: after the last one.
        """
        while not self._answers:
            if self.ended:
                raise self._error or anyio.EndOfStream
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        if self._room is not None:
            self._room.set()
        return self._answers.popleft()

    @property
    def has_room(self) -> bool:
        """Whether :meth:`add` may be called."""
        return len(self._answers) < self._capacity

    def add(self, answer: Any) -> None:
        """Hand an answer on."""
        self._answers.append(answer)
        self._stir()

    async def wait_for_room(self, patience: float) -> bool:
        """Wait for the reader, for so many seconds; if it does not read, the request fails."""
        with anyio.move_on_after(patience) as waited:
            while not self.has_room and not self.ended:
                self._room = anyio.Event()
                await self._room.wait()
        if waited.cancelled_caught:
            self._end(MemqlError(Code.RESOURCE_EXHAUSTED, f"answers were not read for {patience:g} s"))
            self._stop()
        return not self.ended

    def finish(self) -> None:
        """The other side has sent its last answer."""
        self._cancel = None
        self._end(None)

    def lost(self, error: MemqlError) -> None:
        """The other side cannot be reached any more."""
        self._cancel = None
        self._end(error)

    def close(self) -> None:
        """Nobody reads it any more: the other side is told to stop, unless it has."""
        self._stop()
        self._end(None)

    def _end(self, error: MemqlError | None) -> None:
        if not self.ended:
            self.ended, self._error = True, error
            self._stir()
            if self._room is not None:
                self._room.set()

    def _stir(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    def _stop(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            _tell(self.link, cancel(self.request_id))


class InFlight:
    """The table of one node.

    :param node: its id, which makes request ids unique in the mesh.
    """

    def __init__(self, node: str, options: Options) -> None:
        self._node = node
        self._options = options
        self._entries: dict[str, Entry] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._entries)

    def new_id(self) -> str:
        """An id that no other request in the mesh has."""
        return f"{self._node[: _MAX_ID - 20]}:{next(self._numbers)}"

    @contextmanager
    def opened(self, request_id: str, link: Link, cancel: Cancel | None) -> Iterator[Entry]:
        """An entry for the length of the block; if it has not ended then, the other side is told to stop.

        :param cancel: makes the message that says so; None for requests that need none.
        :raises MemqlError: ``INVALID_ARGUMENT`` without an id, ``ALREADY_EXISTS`` when the id is in flight.
        """
        if not request_id:
            raise MemqlError(Code.INVALID_ARGUMENT, "a request to another node needs a request id")
        if request_id in self._entries:
            raise MemqlError(Code.ALREADY_EXISTS, f"the request {request_id} is in flight already")
        entry = self._entries[request_id] = Entry(request_id, link, self._options.forward_queue, cancel)
        try:
            yield entry
        finally:
            del self._entries[request_id]
            entry.close()

    def answer(self, request_id: str, message: Any, *, last: bool) -> Awaitable[None] | None:
        """An answer has come from another node; what is returned, if anything, is to be awaited before its next one."""
        entry = self._entries.get(request_id)
        if entry is None or entry.ended:
            metrics.orphans.inc()
            return None
        if not entry.has_room:
            return self._answer_slowly(entry, message, last)
        entry.add(message)
        if last:
            entry.finish()
        return None

    async def _answer_slowly(self, entry: Entry, message: Any, last: bool) -> None:
        """At the pace of whoever reads it."""
        if await entry.wait_for_room(self._options.forward_idle):
            entry.add(message)
        if last:
            entry.finish()

    def running_on(self, link: Link) -> int:
        """How many requests a stream carries."""
        return sum(entry.link is link for entry in self._entries.values())

    def lost(self, link: Link) -> None:
        """A stream has ended: what it carried fails at once."""
        for entry in tuple(self._entries.values()):
            if entry.link is link:
                entry.lost(MemqlError(Code.UNAVAILABLE, f"the stream to {link.peer.id} was lost; try again"))


def _tell(link: Link, message: betterproto2.Message) -> None:
    try:
        link.post(message)
    except MemqlError:
        # A stream that takes no cancellation has ended, and what ran for it with it.
        return
