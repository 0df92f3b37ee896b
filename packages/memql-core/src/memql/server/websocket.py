"""``GET /memql/ws``: the session in-process behind a socket (spec "GET /memql/ws")."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import cast

import anyio
from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from memql.auth.surfaces import Surface
from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.server.codec import BadFrameError, Codec, ProtobufCodec, Request
from memql.server.http_common import authenticate, error_response
from memql.server.json_codec import JsonCodec
from memql.server.limits import Limits
from memql.server.origins import OriginPolicy
from memql.server.ports import Authenticator, Principal, Services
from memql.server.replies import Payload
from memql.server.routing import RouteTable
from memql.server.session import Session, StreamClosedError, Write
from memql.server.sessions import OpenStream, Sessions
from memql.wire.messages import ClientHello

__all__ = ["WebSocketBridge", "websocket_limits"]

log = logging.getLogger(__name__)

_MINUTE = 60.0
_CLOSE_SECONDS = 2.0
_HELLO = ClientHello(client_id="memql-ws", sdk_name="memql", sdk_version="websocket")
_CLOSING = {
    Code.UNAUTHENTICATED: (4401, "the credential has expired or was revoked"),
    Code.FORBIDDEN: (4403, "forbidden"),
}
"""How a socket is closed for what its credential has become."""
_SCHEMES = {"bearer": "Bearer", "guest": "Guest"}
_TOKENS = {"bearer_token": "Bearer", "token": "Bearer", "guest_token": "Guest"}


def websocket_limits(settings: Settings) -> Limits:
    """The bounds of a socket's stream."""
    return Limits(
        inflight=settings.stream_max_inflight,
        running_queries=settings.ws_max_concurrent_requests,
        queued_queries=settings.ws_max_pending,
    )


class WebSocketBridge:
    """The handler of the endpoint; one per node."""

    def __init__(
        self,
        services: Services,
        routes: RouteTable,
        authenticator: Authenticator,
        sessions: Sessions,
        settings: Settings,
    ) -> None:
        self._services = services
        self._routes = routes
        self._authenticator = authenticator
        self._sessions = sessions
        self._settings = settings
        self._origins = OriginPolicy(settings.ws_origin_patterns)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade and serve until either side is done."""
        try:
            self._sessions.require_open()
            authorization, protocol = self._credential(request)
            principal = await authenticate(request, self._authenticator, Surface.WEB, authorization)
            if not self._origins.allows(request.headers.get("Origin"), request.host):
                raise MemqlError(
                    Code.FORBIDDEN,
                    f"pages of {request.headers['Origin']} may not connect; MEMQL_WEBSOCKET_ORIGIN_PATTERNS lists "
                    "those that may",
                )
        except MemqlError as error:
            return error_response(error)
        socket = web.WebSocketResponse(
            protocols=(protocol,) if protocol else (),
            heartbeat=self._settings.ws_ping_interval_ms / 1000,
            max_msg_size=self._settings.ws_max_message_bytes,
            compress=False,
            timeout=_CLOSE_SECONDS,
        )
        if not socket.can_prepare(request):
            return error_response(MemqlError(Code.INVALID_ARGUMENT, "this address speaks WebSocket only"), 426)
        with anyio.fail_after(self._settings.ws_dial_timeout_ms / 1000):
            await socket.prepare(request)
        await self._serve(principal, socket)
        return socket

    def _credential(self, request: web.Request) -> tuple[str, str]:
        """A credential outside the header: as an ``authorization`` value, and the subprotocol to echo."""
        offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if len(offered) == 2 and offered[0].lower() in _SCHEMES:
            return f"{_SCHEMES[offered[0].lower()]} {offered[1]}", offered[0]
        if self._settings.query_token_allowed:
            for name, scheme in _TOKENS.items():
                if token := request.query.get(name):
                    return f"{scheme} {token}", ""
        return "", ""

    async def _serve(self, principal: Principal, socket: web.WebSocketResponse) -> None:
        codec = _FirstFrameCodec()
        session = Session(
            services=self._services,
            routes=self._routes,
            principal=principal,
            codec=codec,
            write=self._writer(socket, codec),
            limits=websocket_limits(self._settings),
        )
        with anyio.CancelScope() as ended, self._sessions.opened(session, ended) as stream:
            async with session:
                session.dispatch(Request("", "client_hello", _HELLO))
                await _read_all(session, stream, socket)
        if stream.ending is not None:
            await _close(socket, *_CLOSING.get(stream.ending.code, (WSCloseCode.GOING_AWAY, "draining")))
        elif not socket.closed:
            await _close(socket, WSCloseCode.POLICY_VIOLATION, "too many frames could not be read")

    def _writer(self, socket: web.WebSocketResponse, codec: _FirstFrameCodec) -> Write:
        seconds = self._settings.ws_write_timeout_ms / 1000

        async def write(frame: bytes | str) -> None:
            # JSON frames are bytes as well: rows are spliced in without being decoded.
            assert isinstance(frame, bytes)
            try:
                # Most frames go at once: a cancel scope for each would cost more than the frame.
                async with asyncio.timeout(seconds):
                    await socket.send_frame(frame, WSMsgType.BINARY if codec.binary else WSMsgType.TEXT)
            except TimeoutError as error:
                await _close(socket, WSCloseCode.INTERNAL_ERROR, "the client does not read")
                raise StreamClosedError from error
            except (ClientConnectionResetError, ConnectionError, RuntimeError) as error:
                raise StreamClosedError from error

        return write


class _FirstFrameCodec:
    """Reads either encoding; answers in that of the client's first frame, in text before it."""

    def __init__(self) -> None:
        self.binary = False
        self._decided = False
        self._json: Codec = JsonCodec()
        self._protobuf: Codec = ProtobufCodec()

    def decode(self, data: bytes | str) -> Request:
        binary = isinstance(data, bytes)
        if not self._decided:
            self._decided, self.binary = True, binary
        return (self._protobuf if binary else self._json).decode(data)

    def encode(
        self, next_id: Callable[[], str], correlate_to: str, payload: Payload, *, json_rows: bool
    ) -> Iterator[bytes | str]:
        chosen = self._protobuf if self.binary else self._json
        return chosen.encode(next_id, correlate_to, payload, json_rows=json_rows)


async def _read_all(session: Session, stream: OpenStream, socket: web.WebSocketResponse) -> None:
    """Feed the session until the client closes; returns early on a client that sends garbage."""
    bad: list[float] = []
    async for message in socket:
        if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
            continue
        try:
            session.receive(cast("str | bytes", message.data))
        except BadFrameError as error:
            session.refuse_frame(error)
            now = time.monotonic()
            bad = [moment for moment in bad if moment > now - _MINUTE] + [now]
            if len(bad) >= session.limits.bad_frames:
                stream.reason = "error"
                return


async def _close(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS + 1, shield=True):
        await socket.close(code=code, message=reason.encode())
