"""Answering payloads of MemqlService for other nodes: the asked side (spec "Forwarding").

The receiver runs its ordinary handlers on a virtual session: one per request, with the authority that the asking node
resolved for its caller. It ends with its answer, its cancellation, its deadline, or the stream it came over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import anyio

from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.forward.authority import principal_said
from memql.mesh.forward.payloads import CONTINUATIONS, OPENERS, TERMINAL
from memql.mesh.links.link import Link
from memql.mesh.tasks import Start
from memql.mesh.wire.forwards import ForwardFrame
from memql.mesh.wire.messages import SiForwardCancel, SiForwardResponse
from memql.server.codec import BadFrameError, ProtobufCodec, Request, request_of
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

_FEATURES: Final = frozenset({"json-rows"})
_QUERY_ERROR: Final = SERVER.by_name["query_error"].number


@dataclass(slots=True, eq=False)
class _Running:
    """A request that runs here for another node."""

    link: Link
    session: Session
    answers: _Answers
    stopped: bool = False

    def stop(self) -> None:
        """End it early: nobody wants its answer any more."""
        self.stopped = True
        self.session.stop_all(Code.CANCELLED)


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

    def request(self, link: Link, body: bytes) -> Awaitable[None] | None:
        """Take a request, or what belongs to one, as bytes of ``SIForwardRequest``.

        :raises MalformedMessageError: when they are none.
        """
        forward = ForwardFrame.decode(body)
        key = (link.peer.id, forward.request_id)
        if forward.continuation:
            return self._continue(key, forward)
        try:
            request, principal = self._admit(key, forward)
        except MemqlError as error:
            self._refuse(link, forward.request_id, error)
            return None
        running = self._running[key] = self._opened(link, forward.request_id, principal)
        self._noted()
        self._start(self._serve, key, running, request, _seconds(forward.deadline_ms), name=request.name)
        return None

    def cancel(self, link: Link, message: SiForwardCancel) -> None:
        """The asking side wants no answer any more."""
        running = self._running.get((link.peer.id, message.request_id))
        if running is not None:
            running.stop()

    def lost(self, link: Link) -> None:
        """A stream has ended: nobody waits for what came over it."""
        for running in tuple(self._running.values()):
            if running.link is link:
                running.stop()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _admit(self, key: tuple[str, str], forward: ForwardFrame) -> tuple[Request, Principal]:
        peer_id, request_id = key
        if self.refusal is not None:
            raise self.refusal
        if not request_id:
            raise MemqlError(Code.INVALID_ARGUMENT, "a forwarded request needs a request id")
        if key in self._running:
            raise MemqlError(Code.ALREADY_EXISTS, f"the request {request_id} runs here already")
        request = _request(forward.envelope)
        if request.name not in OPENERS:
            raise MemqlError(
                Code.UNIMPLEMENTED, f"{request.name or 'an unknown payload'} is not answered for other nodes"
            )
        if self._routes.get(request.name) is None:
            raise MemqlError(
                Code.UNAVAILABLE, f"{request.name} is not answered by {self._services.identity.type} nodes"
            )
        return request, principal_said(forward.said, peer_id)

    def _opened(self, link: Link, request_id: str, principal: Principal) -> _Running:
        answers = _Answers(link, request_id)
        session = Session(
            services=self._services, routes=self._routes, principal=principal, codec=answers.codec, write=answers.write
        )
        session.features = _FEATURES
        return _Running(link, session, answers)

    async def _continue(self, key: tuple[str, str], forward: ForwardFrame) -> None:
        running = self._running.get(key)
        try:
            request = _request(forward.envelope)
        except MemqlError as error:
            log.warning("a continuation from %s cannot be read: %s", key[0], error.message)
            return
        if running is None or request.name not in CONTINUATIONS:
            # An answer would end a request that may still run; the asking side knows when its own has ended.
            log.debug("%s belongs to no request that runs here", request.name or "an unknown payload")
            return
        await running.session.answer(request)

    async def _serve(self, key: tuple[str, str], running: _Running, request: Request, limit: float) -> None:
        try:
            if not running.stopped:
                await running.session.answer(request, limit)
            if not running.answers.ended:
                # Stopped, or answered without a word: the asking side must not wait for more.
                await running.answers.end()
        finally:
            del self._running[key]
            self._noted()

    def _noted(self) -> None:
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
        terminal = self.codec.terminal
        # One that is too large for the stream is refused here, and the session says so instead.
        await self._link.put(SiForwardResponse(request_id=self._request_id, memql_server_msg=frame, done=terminal))
        self.ended = terminal

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


def _request(envelope: bytes) -> Request:
    try:
        return request_of(decode_client(envelope))
    except (MalformedMessageError, BadFrameError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the forwarded envelope cannot be read: {error}") from error


def _seconds(milliseconds: int) -> float:
    return min(milliseconds / 1000, MAX_TIMEOUT) if milliseconds > 0 else MAX_TIMEOUT
