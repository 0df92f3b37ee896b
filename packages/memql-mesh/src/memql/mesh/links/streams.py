"""Both ends of ``NodeService.Stream`` on grpc.aio, as envelopes of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import anyio
import grpc
import grpc.aio

from memql.errors import Code, MemqlError
from memql.mesh.wire.envelopes import METHOD

__all__ = ["MAX_FRAME_BYTES", "MAX_MESSAGE_BYTES", "AcceptedStream", "Stream", "StreamLostError", "dial"]

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of one envelope, both ways: deltas of a turn may carry screenshots."""

MAX_FRAME_BYTES: Final = 1 << 20
"""Bytes of an HTTP/2 frame: a batch of events in one piece costs a third less than in many."""

_STATUS_PATIENCE: Final = 1.0
_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.max_frame_size", MAX_FRAME_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Each dial has its own back-off, which is ours.
    ("grpc.use_local_subchannel_pool", 1),
    # Peers are named by address; a proxy of the environment is for the outside.
    ("grpc.enable_http_proxy", 0),
)
_ENDED: Final = (grpc.RpcError, grpc.aio.BaseError)
"""What the accepting end raises for a stream that is over, whoever ended it."""

_CODES: Final[Mapping[grpc.StatusCode, Code]] = {
    grpc.StatusCode.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: Code.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED: Code.UNIMPLEMENTED,
    grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
}


class StreamLostError(Exception):
    """The stream is gone; ``error`` says why, None when the other side ended it in good order."""

    def __init__(self, error: MemqlError | None = None) -> None:
        super().__init__(error)
        self.error = error


class Stream(Protocol):
    """One end of a stream: read by one task, written by one other."""

    async def read(self) -> bytes:
        """The next envelope.

        :raises StreamLostError: when the stream is gone.
        """
        ...

    async def write(self, envelope: bytes) -> None:
        """Send an envelope; returns when there is room for the next.

        :raises StreamLostError: when the stream is gone.
        """
        ...


class AcceptedStream:
    """The end that was dialed."""

    def __init__(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._context = context

    async def read(self) -> bytes:
        """See :class:`Stream`."""
        try:
            data: Any = await self._context.read()
        except _ENDED as error:
            raise StreamLostError(_broken(str(error))) from error
        if data is grpc.aio.EOF:
            raise StreamLostError
        assert isinstance(data, bytes)
        return data

    async def write(self, envelope: bytes) -> None:
        """See :class:`Stream`."""
        try:
            await self._context.write(envelope)
        except _ENDED as error:
            raise StreamLostError(_broken(str(error))) from error


class _DialedStream:
    """The end that dialed."""

    def __init__(self, call: Any, address: str) -> None:
        self._call = call
        self._address = address

    async def read(self) -> bytes:
        """See :class:`Stream`."""
        try:
            data: Any = await self._call.read()
        except grpc.aio.AioRpcError:
            raise await self._lost() from None
        if data is grpc.aio.EOF:
            raise await self._lost()
        assert isinstance(data, bytes)
        return data

    async def write(self, envelope: bytes) -> None:
        """See :class:`Stream`."""
        try:
            await self._call.write(envelope)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._lost() from None

    async def _lost(self) -> StreamLostError:
        """Why it ended: a failed write does not know, the status of the call does once it has arrived."""
        code, text = grpc.StatusCode.UNAVAILABLE, "the connection broke"
        with anyio.move_on_after(_STATUS_PATIENCE):
            code, text = await self._call.code(), await self._call.details()
        if code is grpc.StatusCode.OK:
            return StreamLostError()
        message = text or code.name.lower().replace("_", " ")
        return StreamLostError(MemqlError(_CODES.get(code, Code.UNAVAILABLE), f"{self._address}: {message}"))


@asynccontextmanager
async def dial(
    address: str, *, authorization: str, credentials: grpc.ChannelCredentials | None, server_name: str = ""
) -> AsyncIterator[Stream]:
    """A stream to a node; closed with the block. Whether anybody answers shows at the first read or write.

    :param address: ``host:port``.
    :param authorization: the whole header; empty for none.
    :param server_name: what the node's certificate must be for; the host of the address unless given.
    """
    async with _channel(address, credentials, server_name) as channel:
        # The state of the channel is not watched: a watch cannot be cancelled, and would outlive the event loop.
        metadata: Sequence[tuple[str, str]] = (("authorization", authorization),) if authorization else ()
        call: Any = channel.stream_stream(METHOD)(metadata=metadata)
        try:
            # A write that finds the call refused would hide why; a node that takes it says so before anything else.
            with anyio.move_on_after(_STATUS_PATIENCE):
                await call.initial_metadata()
            yield _DialedStream(call, address)
        finally:
            call.cancel()
            # gRPC's poller outlives the event loop: nothing of the call may be under way when the loop ends.
            with anyio.move_on_after(_STATUS_PATIENCE, shield=True):
                await call.code()


@asynccontextmanager
async def _channel(
    address: str, credentials: grpc.ChannelCredentials | None, server_name: str
) -> AsyncIterator[grpc.aio.Channel]:
    options: list[tuple[str, Any]] = list(_OPTIONS)
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        if server_name:
            options.append(("grpc.ssl_target_name_override", server_name))
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    try:
        yield channel
    finally:
        with anyio.CancelScope(shield=True):
            await channel.close()


def _broken(reason: str) -> MemqlError:
    return MemqlError(Code.UNAVAILABLE, reason)
