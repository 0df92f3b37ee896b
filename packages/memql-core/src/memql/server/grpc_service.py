"""``/znasllc.memql.v1.MemqlService/Stream`` on grpc.aio: frames in, frames out, raw bytes on both sides."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import anyio
import grpc
import grpc.aio

from memql.errors import Code, MemqlError
from memql.server.codec import BadFrameError, ProtobufCodec
from memql.server.limits import Limits
from memql.server.ports import Authenticator, Credentials, Principal, Services
from memql.server.replies import coded
from memql.server.routing import RouteTable
from memql.server.session import Session, StreamClosedError, Write
from memql.server.sessions import OpenStream, Sessions

__all__ = ["SERVICE", "MemqlService"]

log = logging.getLogger(__name__)

SERVICE = "znasllc.memql.v1.MemqlService"
_MINUTE = 60.0


class MemqlService:
    """The handler of the stream; one per node."""

    def __init__(
        self,
        services: Services,
        routes: RouteTable,
        authenticator: Authenticator,
        sessions: Sessions,
        limits: Limits,
    ) -> None:
        self._services = services
        self._routes = routes
        self._authenticator = authenticator
        self._sessions = sessions
        self._limits = limits

    def handlers(self) -> grpc.GenericRpcHandler:
        """What ``grpc.aio.Server.add_generic_rpc_handlers`` takes; messages stay bytes."""
        stream = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, {"Stream": stream})

    async def _stream(self, _requests: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            self._sessions.require_open()
            principal = await self._authenticator.authenticate(_credentials(context))
        except Exception as error:
            await _abort(context, coded(error))
            return
        await self._serve(principal, context)

    async def _serve(self, principal: Principal, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        session = Session(
            services=self._services,
            routes=self._routes,
            principal=principal,
            codec=ProtobufCodec(),
            write=_writer(context),
            limits=self._limits,
        )
        ending: MemqlError | None = None
        with anyio.CancelScope() as ended, self._sessions.opened(session, ended) as stream:
            async with session:
                ending = await _read_all(session, stream, context, self._limits)
        ending = stream.ending or ending
        if ending is not None:
            await _abort(context, ending)


async def _read_all(
    session: Session,
    stream: OpenStream,
    context: grpc.aio.ServicerContext[bytes, bytes],
    limits: Limits,
) -> MemqlError | None:
    """Feed the session until the client is done; then let unfinished requests end. Why to abort, if so."""
    bad: list[float] = []
    while True:
        data = await context.read()
        if data is grpc.aio.EOF:
            await session.wait_idle()
            return None
        try:
            session.receive(data)
            # Let the request begin before asking gRPC for the next one: then the database works meanwhile.
            await asyncio.sleep(0)
        except BadFrameError as error:
            session.refuse_frame(error)
            now = time.monotonic()
            bad = [moment for moment in bad if moment > now - _MINUTE] + [now]
            if len(bad) >= limits.bad_frames:
                stream.reason = "error"
                return MemqlError(Code.INVALID_ARGUMENT, f"{len(bad)} frames within a minute could not be read")


def _writer(context: grpc.aio.ServicerContext[bytes, bytes]) -> Write:
    async def write(frame: bytes | str) -> None:
        assert isinstance(frame, bytes)
        try:
            await context.write(frame)
        except (grpc.RpcError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise StreamClosedError from error

    return write


def _credentials(context: grpc.aio.ServicerContext[bytes, bytes]) -> Credentials:
    authorization = ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            authorization = value
    return Credentials(authorization=authorization, peer=context.peer())


async def _abort(context: grpc.aio.ServicerContext[bytes, bytes], error: MemqlError) -> None:
    await context.abort(_CODES[int(error.status)], error.message)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
