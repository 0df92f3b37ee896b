"""The stream over gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import grpc
import grpc.aio

from memql.client._target import Target
from memql.client._transport import MAX_MESSAGE_BYTES, StreamLostError, authorization, unreachable
from memql.errors import Code, MemqlError

__all__ = ["GrpcTransport"]

_STATUS_PATIENCE = 1.0
_WRITE_FAILED = "Internal error from Core"
_METHOD = "/znasllc.memql.v1.MemqlService/Stream"
_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Each session dials for itself: a reconnect must not inherit another channel's back-off.
    ("grpc.use_local_subchannel_pool", 1),
)
_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: Code.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED: Code.UNIMPLEMENTED,
    grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION: Code.FAILED_PRECONDITION,
}


class GrpcTransport:
    """One bidirectional call on a channel of its own."""

    def __init__(self, channel: grpc.aio.Channel, call: Any, target: Target) -> None:
        self._channel = channel
        self._call = call
        self._target = target
        self._closed = False

    @classmethod
    async def open(cls, target: Target, token: str, timeout: float, *, patient: bool = False) -> GrpcTransport:
        """Dial and start the call; see :func:`memql.client._transport.open_transport`."""
        channel = _channel(target)
        try:
            with anyio.fail_after(timeout):
                await _ready(channel, target)
        except TimeoutError:
            await channel.close()
            raise unreachable(target, f"no connection within {timeout:g} s") from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await channel.close()
            raise
        metadata = (("authorization", authorization(token)),) if token else ()
        call = channel.stream_stream(_METHOD)(metadata=metadata)
        if patient:
            with anyio.move_on_after(_STATUS_PATIENCE):
                await call.initial_metadata()
        return cls(channel, call, target)

    async def send(self, data: bytes) -> None:
        """Write one envelope."""
        try:
            await self._call.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._lost() from None
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise

    async def receive(self) -> bytes:
        """The next envelope."""
        try:
            data: Any = await self._call.read()
        except grpc.aio.AioRpcError:
            raise await self._lost() from None
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise
        if data is grpc.aio.EOF:
            raise await self._lost()
        assert isinstance(data, bytes)
        return data

    async def aclose(self) -> None:
        """Cancel the call and close its channel."""
        self._closed = True
        self._call.cancel()
        # gRPC's poller outlives the event loop: nothing of the call may be under way when the loop ends.
        with anyio.move_on_after(_STATUS_PATIENCE, shield=True):
            await self._call.code()
        with anyio.CancelScope(shield=True):
            await self._channel.close()

    def _raise_if_closed(self) -> None:
        """gRPC ends what waits on a call that was cancelled from here as if its task were cancelled; it is not."""
        task = asyncio.current_task()
        if self._closed and not (task is not None and task.cancelling()):
            raise StreamLostError from None

    async def _lost(self) -> StreamLostError:
        code, text = grpc.StatusCode.UNAVAILABLE, "the connection broke"
        # A failed write does not know why; the status of the call does, once it has arrived.
        with anyio.move_on_after(_STATUS_PATIENCE):
            code, text = await self._call.code(), await self._call.details()
        if code is grpc.StatusCode.OK:
            return StreamLostError()
        unexplained = code is grpc.StatusCode.INTERNAL and _WRITE_FAILED in (text or "")
        message = text or code.name.lower().replace("_", " ")
        return StreamLostError(
            MemqlError(_CODES.get(code, Code.UNAVAILABLE), f"the stream to {self._target} ended: {message}"),
            unexplained=unexplained,
        )


def _channel(target: Target) -> grpc.aio.Channel:
    options = [*_OPTIONS, *([("grpc.enable_http_proxy", 0)] if target.is_local else [])]
    if not target.tls:
        return grpc.aio.insecure_channel(target.location, options=options)
    credentials = grpc.ssl_channel_credentials(target.certificate_authorities())
    return grpc.aio.secure_channel(target.location, credentials, options=options)


async def _ready(channel: grpc.aio.Channel, target: Target) -> None:
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise unreachable(target, "the connection was refused")
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
