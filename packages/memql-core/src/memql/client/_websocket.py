"""The stream over the WebSocket bridge: binary frames, each one protobuf envelope."""

from __future__ import annotations

import anyio
from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSMsgType,
    WSServerHandshakeError,
)

from memql.client._target import Target
from memql.client._transport import MAX_MESSAGE_BYTES, StreamLostError, authorization, unreachable
from memql.errors import Code, MemqlError

__all__ = ["WebSocketTransport"]

_PING_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_REFUSALS = {401: Code.UNAUTHENTICATED, 403: Code.FORBIDDEN}
_CLOSE_CODES = {
    1009: Code.RESOURCE_EXHAUSTED,
    4401: Code.UNAUTHENTICATED,
    4403: Code.FORBIDDEN,
}
_ORDERLY = frozenset({1000, 1001})


class WebSocketTransport:
    """One socket in a session of its own."""

    def __init__(self, session: ClientSession, socket: ClientWebSocketResponse, target: Target) -> None:
        self._session = session
        self._socket = socket
        self._target = target

    @classmethod
    async def open(cls, target: Target, token: str, timeout: float) -> WebSocketTransport:
        """Dial and upgrade; see :func:`memql.client._transport.open_transport`."""
        session = ClientSession(timeout=ClientTimeout(total=None, connect=timeout), trust_env=not target.is_local)
        try:
            with anyio.fail_after(timeout):
                socket = await session.ws_connect(
                    target.location,
                    headers={"Authorization": authorization(token)} if token else {},
                    heartbeat=_PING_SECONDS,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                    compress=0,
                    ssl=target.ssl_context() if target.tls else True,
                )
        except WSServerHandshakeError as error:
            await session.close()
            code = _REFUSALS.get(error.status, Code.UNAVAILABLE)
            raise MemqlError(
                code, f"{target} refused the WebSocket with HTTP {error.status} {error.message}"
            ) from error
        except (ClientError, OSError, TimeoutError) as error:
            await session.close()
            raise unreachable(target, str(error) or f"no connection within {timeout:g} s") from error
        except BaseException:
            with anyio.CancelScope(shield=True):
                await session.close()
            raise
        return cls(session, socket, target)

    async def send(self, data: bytes) -> None:
        """Write one envelope."""
        try:
            await self._socket.send_bytes(data)
        except (ClientError, ConnectionError) as error:
            raise self._lost(str(error)) from None

    async def receive(self) -> bytes:
        """The next envelope. Text frames are skipped: the bridge greets in text before it knows our
        encoding.
        """
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                data = message.data
                assert isinstance(data, bytes)
                return data
            if message.type is not WSMsgType.TEXT:
                raise self._lost(str(message.extra or ""))

    async def aclose(self) -> None:
        """Close the socket."""
        with anyio.CancelScope(shield=True):
            await self._socket.close()
            await self._session.close()

    def _lost(self, reason: str) -> StreamLostError:
        code = self._socket.close_code
        if code in _ORDERLY:
            return StreamLostError()
        kind = _CLOSE_CODES.get(code or 0, Code.UNAVAILABLE)
        detail = reason or f"close code {code}"
        return StreamLostError(MemqlError(kind, f"the WebSocket to {self._target} ended: {detail}"))
