"""Having other nodes answer payloads of MemqlService: the asking side (spec "Forwarding")."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.forward.authority import authority_of, claims_of
from memql.mesh.forward.choice import Chooser
from memql.mesh.forward.inflight import Entry, InFlight
from memql.mesh.forward.payloads import REPEATABLE, TERMINAL
from memql.mesh.links.link import Link
from memql.mesh.wire.messages import SiForwardCancel, SiForwardRequest, SiForwardResponse
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
        self._own = own
        self._inflight = inflight
        self._chooser = chooser

    async def ask(self, task: Task, types: Sequence[str]) -> AsyncGenerator[tuple[Frame, Asked], None]:
        """The answers of a node of one of these types, the last of them terminal; closed by whoever stops reading.

        A request without effects that has brought nothing when its node is lost is tried once more, elsewhere.

        :raises MemqlError: ``UNAVAILABLE`` when no such node is connected or it was lost, and what it answers.
        """
        link = self._chooser.choose(*types)
        begun = False
        try:
            async with aclosing(self._ask_one(task, link)) as answers:
                async for answer in answers:
                    begun = True
                    yield answer
            return
        except MemqlError as error:
            if begun or error.code is not Code.UNAVAILABLE or task.name not in REPEATABLE:
                raise
        async with aclosing(self._ask_one(task, self._chooser.choose(*types, but={link.peer.id}))) as answers:
            async for answer in answers:
                yield answer

    async def _ask_one(self, task: Task, link: Link) -> AsyncGenerator[tuple[Frame, Asked], None]:
        request_id = self._inflight.new_id()
        outcome = "ended"
        with self._inflight.opened(request_id, link, lambda one: SiForwardCancel(request_id=one)) as entry:
            link.post(self._request(request_id, task))
            try:
                async for frame in _frames(entry):
                    if frame.name in TERMINAL:
                        outcome = "refused" if frame.name == "query_error" else "answered"
                    yield frame, Asked(request_id, link)
            except MemqlError:
                outcome = "lost"
                raise
            finally:
                metrics.forwards.labels(task.name, outcome).inc()

    def _request(self, request_id: str, task: Task) -> SiForwardRequest:
        milliseconds = max(1, int(task.timeout * 1000))
        number = CLIENT.by_name[task.name].number
        metadata = {"timeout_ms": str(milliseconds)}
        return SiForwardRequest(
            request_id=request_id,
            auth=claims_of(task.principal),
            memql_envelope=encode_client(task.message_id, number, task.body, metadata),
            authority=authority_of(task.principal, self._own),
            deadline_ms=milliseconds,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a request runs: what it is called there, and over which stream it is reached."""

    request_id: str
    link: Link

    def continue_with(self, name: str, body: bytes) -> None:
        """Send something that belongs to the request.

        :raises MemqlError: ``UNAVAILABLE`` when the stream has ended: it cannot go on elsewhere.
        """
        envelope = encode_client("", CLIENT.by_name[name].number, body)
        self.link.post(SiForwardRequest(request_id=self.request_id, memql_envelope=envelope, continuation=True))


async def _frames(entry: Entry) -> AsyncGenerator[Frame, None]:
    while True:
        try:
            answer: SiForwardResponse = await entry.next()
        except anyio.EndOfStream:
            return
        if answer.memql_server_msg:
            yield decode_server(answer.memql_server_msg)
