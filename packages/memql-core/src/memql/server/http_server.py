"""The HTTP listener: routes, middleware, start and stop."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from memql.config import Settings
from memql.config.value_types import Address
from memql.errors import Code, MemqlError
from memql.server.health import Health
from memql.server.http_common import error_response
from memql.server.http_gateway import MAX_BODY_BYTES, QueryGateway
from memql.server.origins import OriginPolicy, is_local_host
from memql.server.replies import coded
from memql.server.tls import http_server_context
from memql.server.websocket import WebSocketBridge

__all__ = ["build_app", "serve_http"]

log = logging.getLogger(__name__)

_STOP_SECONDS = 2.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    settings: Settings,
    health: Health,
    gateway: QueryGateway,
    bridge: WebSocketBridge,
    extra: Sequence[web.AbstractRouteDef] = (),
    outer: Sequence[Middleware] = (),
    *,
    local_only: bool = False,
) -> web.Application:
    """All routes of a node.

    :param extra: routes that roles add.
    :param outer: middlewares that roles lay around everything.
    :param local_only: refuse requests for another host than this machine's loopback; for no-auth mode, where a page
        that had its own name resolve to this machine would otherwise act as the owner.
    """
    middlewares: list[Middleware] = [_errors, _cors(OriginPolicy(settings.http_allowed_origins))]
    if local_only:
        middlewares.insert(1, _local_host)
    app = web.Application(middlewares=[*outer, *middlewares], client_max_size=MAX_BODY_BYTES)
    prefix = settings.http_public_path.rstrip("/")
    app.add_routes(
        [
            web.get("/livez", health.livez),
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get(f"{prefix}/memql/ws", bridge.handle, allow_head=False),
            web.post(f"{prefix}/memql/query", gateway.handle),
            *extra,
        ]
    )
    if settings.metrics_address is None:
        app.router.add_get("/metrics", _metrics)
    return app


@asynccontextmanager
async def serve_http(settings: Settings, app: web.Application) -> AsyncIterator[Address]:
    """Listen on ``settings.http_address``, and on the metrics address if there is one, while the block runs. With
    ``MEMQL_HTTP_TLS_CERT_FILE`` the former speaks HTTPS only; the latter is for the cluster's inside and stays plain.

    Yields the HTTP address with its real port.

    :raises MemqlError: ``CONFIG_INVALID`` when an address cannot be bound or a TLS file cannot be used.
    """
    tls = http_server_context(settings)
    main = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    runners = [(main, settings.http_address, tls, "SERVER")]
    if settings.metrics_address is not None:
        metrics = web.Application()
        metrics.router.add_get("/metrics", _metrics)
        runners.append((web.AppRunner(metrics, access_log=None), settings.metrics_address, None, "MEMQL_METRICS"))
    started: list[web.AppRunner] = []
    try:
        bound: list[Address] = []
        for runner, address, context, name in runners:
            await runner.setup()
            started.append(runner)
            bound.append(await _listen(runner, address, context, f"{name}_ADDRESS"))
        yield bound[0]
    finally:
        with anyio.CancelScope(shield=True):
            for runner in reversed(started):
                await runner.cleanup()


async def _listen(runner: web.AppRunner, address: Address, context: ssl.SSLContext | None, setting: str) -> Address:
    site = web.TCPSite(runner, address.bind_host, address.port, ssl_context=context)
    try:
        await site.start()
    except OSError as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"cannot listen on {address} ({setting}): {error.strerror or error}"
        ) from error
    return Address(address.host, runner.addresses[0][1])


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as ``{"error", "code"}``."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = _HTTP_CODES.get(error.status, Code.INVALID_ARGUMENT)
        response = error_response(MemqlError(code, f"{error.reason}: {request.method} {request.path}"), error.status)
        if allowed := error.headers.get("Allow"):
            response.headers["Allow"] = allowed
        return response
    except Exception as error:
        return error_response(coded(error))


_HTTP_CODES = {404: Code.NOT_FOUND, 405: Code.UNIMPLEMENTED, 413: Code.RESOURCE_EXHAUSTED}


@web.middleware
async def _local_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not is_local_host(request.host):
        error = MemqlError(
            Code.FORBIDDEN, f"this node serves its own machine only, not {request.host!r}; it runs without identity"
        )
        return error_response(error)
    return await handler(request)


def _cors(origins: OriginPolicy) -> Middleware:
    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is None or not origins.allows(origin, request.host):
            return await handler(request)
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response: web.StreamResponse = web.Response(status=204) if preflight else await handler(request)
        if response.prepared:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
        if preflight:
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = "600"
        return response

    return cors
