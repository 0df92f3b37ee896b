"""What the session needs of a stream: whole envelopes as bytes, in order, both ways."""

from __future__ import annotations

from typing import Protocol

from memql.client._target import Target
from memql.errors import Code, MemqlError

__all__ = ["MAX_MESSAGE_BYTES", "StreamLostError", "Transport", "authorization", "open_transport"]

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
_SCHEMES = ("bearer ", "guest ", "operator ", "worker ")


class StreamLostError(Exception):
    """The stream ended. ``error`` says why; it is None when the server closed in good order.

    ``unexplained`` tells that the server may have given a reason which was lost; see :func:`open_transport`.
    """

    def __init__(self, error: MemqlError | None = None, *, unexplained: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.unexplained = unexplained


class Transport(Protocol):
    """One open stream. ``send`` is called by one task and ``receive`` by one other."""

    async def send(self, data: bytes) -> None:
        """Write one envelope.

        :raises StreamLostError: when the stream is gone.
        """
        ...

    async def receive(self) -> bytes:
        """The next envelope.

        :raises StreamLostError: when the stream is gone.
        """
        ...

    async def aclose(self) -> None:
        """End the stream; idempotent, waits for nothing from the other side."""
        ...


def authorization(token: str) -> str:
    """The value of the ``authorization`` header: a token that names no scheme is a bearer token."""
    return token if token.lower().startswith(_SCHEMES) else f"Bearer {token}"


async def open_transport(target: Target, token: str, timeout: float, *, patient: bool = False) -> Transport:
    """Dial.

    :param patient: give the server time to refuse before anything is sent: what gRPC learns from a refusal is
        lost when a write finds the call ended.
    :raises MemqlError: ``UNAVAILABLE`` when nothing answers, ``UNAUTHENTICATED`` or ``FORBIDDEN`` when the
        credential is refused.
    """
    if target.transport == "grpc":
        from memql.client._grpc import GrpcTransport

        return await GrpcTransport.open(target, token, timeout, patient=patient)
    from memql.client._websocket import WebSocketTransport

    return await WebSocketTransport.open(target, token, timeout)


def unreachable(target: Target, reason: str) -> MemqlError:
    """The error of a dial that found nobody."""
    return MemqlError(
        Code.UNAVAILABLE,
        f"no memQL node answers at {target}: {reason}; is one running (memql up), and is the address right?",
    )
