"""Answering payloads of MemqlService for other nodes: the asked side (spec "Forwarding").

The receiver runs its ordinary handlers on a virtual session: one per request, with the authority that the asking node
resolved for its caller. It ends with its answer, its cancellation, its deadline, or the stream it came over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.forward.authority import principal_of
from memql.mesh.forward.payloads import CONTINUATIONS, OPENERS, TERMINAL
from memql.mesh.links.link import Link
from memql.mesh.tasks import Start
from memql.mesh.wire.messages import SiForwardCancel, SiForwardRequest, SiForwardResponse
from memql.server.codec import BadFrameError, ProtobufCodec
from memql.server.ports import Principal, Services
from memql.server.replies import Payload, coded, query_error, wire_name
from memql.server.routing import MAX_TIMEOUT, RouteTable
from memql.server.session import Session
from memql.wire.frames import decode_client, encode_server
from memql.wire.generated import message_bytes
from memql.wire.payloads import SERVER
from memql.wire.protobuf import MalformedMessageError

__all__ = ["Server"]

log = logging.getLogger(__name__)

_QUERY_ERROR = SERVER.by_name["query_error"].number


@dataclass(slots=True, eq=False)
class _Running:
    """A request that runs here for another node."""

    link: Link
    session: Session
    scope: anyio.CancelScope


class Server:
    """The asked side of one node.

    :param routes: how this node answers payloads itself.
    :param start: starts a task that lives at most as long as the node.
    """

    def __init__(self, services: Services, routes: RouteTable, start: Start) -> None:
        self.refusal: MemqlError | None = None
        """When set, new requests are refused with it; the drain sets it."""
        self._services = services
        self._routes = routes
        self._running: dict[tuple[str, str], _Running] = {}
        self._idle = anyio.Event()
        self._start = start

    def __len__(self) -> int:
        return len(self._running)

    async def wait_idle(self) -> None:
        """Return when nothing runs here for others."""
        while self._running:
            self._idle = anyio.Event()
            await self._idle.wait()

    # --- what peers send --------------------------------------------------------------------------------------------

    def request(self, link: Link, message: SiForwardRequest) -> Awaitable[None] | None:
        """Take a request, or what belongs to one."""
        if message.continuation:
            return self._continue((link.peer.id, message.request_id), message)
        try:
            name, principal = self._admit(link, message)
        except MemqlError as error:
            self._refuse(link, message.request_id, error)
        else:
            self._start(self._serve, link, message, principal, name=name)
        return None

    def cancel(self, link: Link, message: SiForwardCancel) -> None:
        """The asking side wants no answer any more."""
        running = self._running.get((link.peer.id, message.request_id))
        if running is not None:
            running.scope.cancel()

    def lost(self, link: Link) -> None:
        """A stream has ended: nobody waits for what came over it."""
        for running in tuple(self._running.values()):
            if running.link is link:
                running.scope.cancel()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _admit(self, link: Link, message: SiForwardRequest) -> tuple[str, Principal]:
        if self.refusal is not None:
            raise self.refusal
        if not message.request_id:
            raise MemqlError(Code.INVALID_ARGUMENT, "a forwarded request needs a request id")
        if (link.peer.id, message.request_id) in self._running:
            raise MemqlError(Code.ALREADY_EXISTS, f"the request {message.request_id} runs here already")
        name = _payload_name(message.memql_envelope)
        if name not in OPENERS:
            raise MemqlError(Code.UNIMPLEMENTED, f"{name or 'an unknown payload'} is not answered for other nodes")
        if self._routes.get(name) is None:
            raise MemqlError(Code.UNAVAILABLE, f"{name} is not answered by {self._services.identity.type} nodes")
        return name, principal_of(message.authority, message.auth, link.peer.id)

    async def _continue(self, key: tuple[str, str], message: SiForwardRequest) -> None:
        running = self._running.get(key)
        name = _payload_name(message.memql_envelope)
        if running is None or name not in CONTINUATIONS:
            # An answer would end a request that may still run; the asking side knows when its own has ended.
            log.debug("%s belongs to no request that runs here", name or "an unknown payload")
            return
        try:
            await running.session.answer(message.memql_envelope)
        except BadFrameError as error:
            log.warning("a continuation from %s cannot be read: %s", key[0], error.reason)

    async def _serve(self, link: Link, message: SiForwardRequest, principal: Principal) -> None:
        answers = _Answers(link, message.request_id)
        session = Session(
            services=self._services, routes=self._routes, principal=principal, codec=answers.codec, write=answers.write
        )
        session.features = frozenset({"json-rows"})
        running = _Running(
            link, session, anyio.CancelScope(deadline=anyio.current_time() + _seconds(message.deadline_ms))
        )
        with self._noted((link.peer.id, message.request_id), running), running.scope:
            try:
                await session.answer(message.memql_envelope)
            except BadFrameError as error:
                answers.ended = True
                self._refuse(link, message.request_id, MemqlError(Code.INVALID_ARGUMENT, error.reason))
        if not answers.ended:
            # Cancelled, or answered without a word: the asking side must not wait for more.
            await answers.end()

    @contextmanager
    def _noted(self, key: tuple[str, str], running: _Running) -> Iterator[None]:
        self._running[key] = running
        metrics.forwards_running.set(len(self._running))
        try:
            yield
        finally:
            del self._running[key]
            metrics.forwards_running.set(len(self._running))
            if not self._running:
                self._idle.set()

    def _refuse(self, link: Link, request_id: str, error: MemqlError) -> None:
        coded(error)
        frame = encode_server("1", "", _QUERY_ERROR, message_bytes(query_error(request_id, error)))
        try:
            link.post(SiForwardResponse(request_id=request_id, memql_server_msg=frame, done=True))
        except MemqlError as full:
            log.warning("%r takes no answer: %s", link, full.message)


class _Answers:
    """The answers of one virtual session on their way back."""

    def __init__(self, link: Link, request_id: str) -> None:
        self.codec = _MarkingCodec()
        self.ended = False
        self._link = link
        self._request_id = request_id

    async def write(self, frame: bytes | str) -> None:
        """What the session writes."""
        assert isinstance(frame, bytes)
        if self.ended:
            return
        self.ended = self.codec.terminal
        await self._link.put(
            SiForwardResponse(request_id=self._request_id, memql_server_msg=frame, done=self.codec.terminal)
        )

    async def end(self) -> None:
        """Say that nothing more comes."""
        self.ended = True
        await self._link.put(SiForwardResponse(request_id=self._request_id, done=True))


class _MarkingCodec(ProtobufCodec):
    """Notes whether what it encodes ends the request; a virtual session has only one."""

    def __init__(self) -> None:
        self.terminal = False

    def encode(
        self, next_id: Callable[[], str], correlate_to: str, payload: Payload, *, json_rows: bool
    ) -> Iterator[bytes | str]:
        """See :class:`~memql.server.codec.Codec`."""
        self.terminal = wire_name(payload) in TERMINAL
        yield from super().encode(next_id, correlate_to, payload, json_rows=json_rows)


def _payload_name(envelope: bytes) -> str:
    try:
        return decode_client(envelope).name
    except MalformedMessageError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the forwarded envelope cannot be read: {error}") from error


def _seconds(milliseconds: int) -> float:
    return min(milliseconds / 1000, MAX_TIMEOUT) if milliseconds > 0 else MAX_TIMEOUT
