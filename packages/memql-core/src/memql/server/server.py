"""The server of a node: both listeners over one set of sessions, and its graceful end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import grpc
from aiohttp import web
from aiohttp.typedefs import Middleware

from memql.config import Settings
from memql.config.value_types import Address
from memql.server.grpc_server import serve_grpc
from memql.server.grpc_service import MemqlService
from memql.server.health import Health
from memql.server.http_gateway import QueryGateway
from memql.server.http_server import build_app, serve_http
from memql.server.limits import Limits
from memql.server.no_auth import LocalOwner
from memql.server.origins import OriginPolicy
from memql.server.ports import Authenticator, Services
from memql.server.routing import RouteTable
from memql.server.sessions import Sessions
from memql.server.websocket import WebSocketBridge

__all__ = ["Server", "open_server"]


@dataclass(frozen=True, slots=True)
class Server:
    """A listening server."""

    sessions: Sessions
    health: Health
    grpc_address: Address
    http_address: Address

    async def drain(self, delay_seconds: float, budget_seconds: float) -> None:
        """End gracefully: tell clients and probes, keep serving for the delay, then let clients move, requests finish.

        Where nothing is delayed, nothing routes clients elsewhere, and none is waited for.
        """
        self.sessions.begin_drain(delay_seconds + budget_seconds)
        await anyio.sleep(delay_seconds)
        await self.sessions.finish_drain(budget_seconds, moving_seconds=delay_seconds)


@asynccontextmanager
async def open_server(
    settings: Settings,
    services: Services,
    *,
    authenticator: Authenticator,
    routes: RouteTable,
    sessions: Sessions,
    health: Health,
    http_routes: Sequence[web.AbstractRouteDef] = (),
    http_middlewares: Sequence[Middleware] = (),
    grpc_handlers: Sequence[grpc.GenericRpcHandler] = (),
    limits: Limits | None = None,
) -> AsyncIterator[Server]:
    """Listen while the block runs; leaving it stops at once, so drain first.

    :param limits: bounds of gRPC streams; those of the settings unless given.
    :raises MemqlError: ``CONFIG_INVALID`` when a listener cannot be bound.
    """
    stream_limits = limits or Limits(inflight=settings.stream_max_inflight)
    service = MemqlService(services, routes, authenticator, sessions, stream_limits)
    gateway = QueryGateway(services, authenticator, OriginPolicy(settings.http_allowed_origins))
    bridge = WebSocketBridge(services, routes, authenticator, sessions, settings)
    local_only = isinstance(authenticator, LocalOwner)
    app = build_app(settings, health, gateway, bridge, http_routes, http_middlewares, local_only=local_only)
    async with (
        serve_grpc(settings, [service.handlers(), *grpc_handlers]) as grpc_address,
        serve_http(settings, app) as http_address,
        anyio.create_task_group() as tasks,
    ):
        health.grpc_address = str(grpc_address)
        tasks.start_soon(sessions.keep_alive, name="server: heartbeats")
        if services.tail is not None:
            tasks.start_soon(services.tail.run, name="server: log tail")
        try:
            yield Server(sessions, health, grpc_address, http_address)
        finally:
            sessions.close_all()
            tasks.cancel_scope.cancel()
