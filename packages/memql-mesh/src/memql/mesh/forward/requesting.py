"""Having other nodes answer payloads of MemqlService: the asking side (spec "Forwarding")."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.forward.authority import Sayings
from memql.mesh.forward.choice import Chooser
from memql.mesh.forward.inflight import Entry, InFlight
from memql.mesh.forward.payloads import REPEATABLE, REQUEST, TERMINAL
from memql.mesh.links.link import Link
from memql.mesh.wire.forwards import ForwardFrame
from memql.mesh.wire.messages import SiForwardCancel, SiForwardResponse
from memql.server.ports import NodeIdentity, Principal
from memql.wire.frames import Frame, decode_server, encode_client
from memql.wire.payloads import CLIENT

__all__ = ["Requester", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A payload to have answered: its name, its bytes, on whose behalf, and within how many seconds."""

    name: str
    body: bytes
    message_id: str
    principal: Principal
    timeout: float


class Requester:
    """The asking side of one node."""

    def __init__(self, own: NodeIdentity, inflight: InFlight, chooser: Chooser) -> None:
        self._sayings = Sayings(own)
        self._inflight = inflight
        self._chooser = chooser

    async def ask(self, task: Task, types: Sequence[str]) -> AsyncGenerator[tuple[Frame, Asked], None]:
        """The answers of a node of one of these types, the last of them terminal; closed by whoever stops reading.

        A request without effects that has brought nothing when its node is lost is tried once more, elsewhere.

        :raises MemqlError: ``UNAVAILABLE`` when no such node is connected or it was lost, and what it answers.
        """
        tried: set[str] = set()
        while True:
            link = self._chooser.choose(*types, but=tried)
            begun = False
            try:
                with self._asked(task, link) as asked:
                    while (frame := await asked.next()) is not None:
                        begun = True
                        yield frame, asked
                    return
            except MemqlError as error:
                if begun or tried or error.code is not Code.UNAVAILABLE or task.name not in REPEATABLE:
                    raise
            tried.add(link.peer.id)

    @contextmanager
    def _asked(self, task: Task, link: Link) -> Iterator[Asked]:
        request_id = self._inflight.new_id()
        with self._inflight.opened(request_id, link, _cancel) as entry:
            link.post_body(REQUEST, self._request(request_id, task))
            asked = Asked(entry)
            try:
                yield asked
            finally:
                metrics.forwarded(task.name, asked.outcome)

    def _request(self, request_id: str, task: Task) -> bytes:
        milliseconds = max(1, int(task.timeout * 1000))
        number = CLIENT.by_name[task.name].number
        return ForwardFrame(
            request_id=request_id,
            envelope=encode_client(task.message_id, number, task.body, {"timeout_ms": str(milliseconds)}),
            said=self._sayings.of(task.principal),
            deadline_ms=milliseconds,
        ).encode()


class Asked:
    """A request that another node is answering."""

    __slots__ = ("_entry", "outcome")

    def __init__(self, entry: Entry) -> None:
        self.outcome = "ended"
        """How it stands, for the metrics."""
        self._entry = entry

    async def next(self) -> Frame | None:
        """Its next answer; None after the last one.

        :raises MemqlError: ``UNAVAILABLE`` when its stream was lost.
        """
        try:
            while True:
                answer: SiForwardResponse = await self._entry.next()
                if answer.memql_server_msg:
                    return self._noted(decode_server(answer.memql_server_msg))
        except anyio.EndOfStream:
            return None
        except MemqlError:
            self.outcome = "lost"
            raise

    def continue_with(self, name: str, body: bytes) -> None:
        """Send something that belongs to the request.

        :raises MemqlError: ``UNAVAILABLE`` when the stream has ended: it cannot go on elsewhere.
        """
        envelope = encode_client("", CLIENT.by_name[name].number, body)
        frame = ForwardFrame(request_id=self._entry.request_id, envelope=envelope, continuation=True)
        self._entry.link.post_body(REQUEST, frame.encode())

    def _noted(self, frame: Frame) -> Frame:
        if frame.name in TERMINAL:
            self.outcome = "refused" if frame.name == "query_error" else "answered"
        return frame


def _cancel(request_id: str) -> SiForwardCancel:
    return SiForwardCancel(request_id=request_id)
