"""The gRPC listener: options, TLS, start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import grpc
import grpc.aio

from memql.config import Settings
from memql.config.value_types import Address
from memql.errors import Code, MemqlError
from memql.server.limits import GRPC_MAX_MESSAGE_BYTES
from memql.server.tls import server_credentials

__all__ = ["OPTIONS", "serve_grpc"]

_STOP_SECONDS = 2.0

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", GRPC_MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Who connects and says nothing is let go.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Two nodes must not share a port by accident.
    ("grpc.so_reuseport", 0),
)


@asynccontextmanager
async def serve_grpc(settings: Settings, handlers: Sequence[grpc.GenericRpcHandler]) -> AsyncIterator[Address]:
    """Listen on ``settings.grpc_address`` while the block runs; yields the address with its real port.

    :raises MemqlError: ``CONFIG_INVALID`` when the address cannot be bound or a TLS file cannot be read.
    """
    server = grpc.aio.server(options=list(OPTIONS))
    server.add_generic_rpc_handlers(tuple(handlers))
    address = _bind(server, settings)
    await server.start()
    try:
        yield address
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(_STOP_SECONDS)


def _bind(server: grpc.aio.Server, settings: Settings) -> Address:
    wanted = settings.grpc_address
    target = str(Address(wanted.bind_host, wanted.port))
    try:
        credentials = server_credentials(settings)
        port = server.add_secure_port(target, credentials) if credentials else server.add_insecure_port(target)
    except (RuntimeError, OSError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"cannot listen on {target} (MEMQL_GRPC_ADDRESS): {error}") from error
    return Address(wanted.host, port)
