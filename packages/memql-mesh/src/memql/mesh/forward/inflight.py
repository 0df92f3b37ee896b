"""The requests of this node that other nodes are answering now (spec "Forwarding").

Each has one entry, from before it is sent until its last answer. Whatever ends it early, the other side is told once
and stops; whatever comes for it afterwards is dropped and counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
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

    :param cancel: makes the message that tells the other side to stop; None for requests that need none.
    """

    def __init__(self, request_id: str, link: Link, capacity: int, cancel: Cancel | None) -> None:
        self.request_id = request_id
        self.link = link
        self._cancel = cancel
        self._ended = False
        self._error: MemqlError | None = None
        self._send, self._answers = anyio.create_memory_object_stream[Any](capacity)

    @property
    def ended(self) -> bool:
        """Whether nothing more is expected."""
        return self._ended

    async def next(self) -> Any:
        """The next answer.

        :raises MemqlError: when the request has failed.
        :raises anyio.EndOfStream: after the last one.
        """
        try:
            return await self._answers.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            raise

    async def put(self, answer: Any, patience: float) -> None:
        """Hand an answer on, at the pace of whoever reads it.

        :param patience: seconds that it may go without reading; then the request fails.
        """
        try:
            with anyio.move_on_after(patience) as waited:
                await self._send.send(answer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # Whoever read it has left, and said so to the other side.
            return
        if waited.cancelled_caught:
            self._end(MemqlError(Code.RESOURCE_EXHAUSTED, f"answers were not read for {patience:g} s"))
            self._stop()

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
        self._answers.close()

    def _end(self, error: MemqlError | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._send.close()

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

    async def answer(self, request_id: str, message: Any, *, last: bool) -> None:
        """An answer has come from another node."""
        entry = self._entries.get(request_id)
        if entry is None or entry.ended:
            metrics.orphans.inc()
            return
        await entry.put(message, self._options.forward_idle)
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
