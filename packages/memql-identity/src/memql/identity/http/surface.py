"""What lies around every answer of an identity node: security headers, and CORS for its own routes (spec "HTTP
catalogue")."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from memql.config import Settings
from memql.identity.http.callers import is_secure

__all__ = ["surface"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
_HSTS = "max-age=31536000"
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def surface(settings: Settings, own: Collection[str], public: Collection[str]) -> Middleware:
    """The middleware of an identity node.

    :param own: the paths of its own routes; pages of the registered origins may call them with credentials.
    :param public: those of them that any page may read.
    """
    by_name = urlsplit(settings.identity_base_url).scheme == "https"
    origins = frozenset(settings.identity_cors_allowed_origins)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        mine = request.path in own
        if mine and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response: web.StreamResponse = web.Response(status=204)
        else:
            response = await handler(request)
        if response.prepared:
            return response
        response.headers.update(_HEADERS)
        if by_name or is_secure(request, settings.identity_trusted_proxies):
            response.headers["Strict-Transport-Security"] = _HSTS
        if response.content_type == "text/html":
            response.headers["Content-Security-Policy"] = _PAGE_POLICY
            response.headers["Cache-Control"] = "no-store"
        if mine:
            _cors(request, response, origins, anyone=request.path in public)
        return response

    return middleware


def _cors(request: web.Request, response: web.StreamResponse, origins: Collection[str], *, anyone: bool) -> None:
    """Exactly the registered origins, whatever an inner layer allowed."""
    headers, origin = response.headers, request.headers.get("Origin")
    for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"):
        headers.pop(name, None)
    if anyone:
        headers["Access-Control-Allow-Origin"] = "*"
    elif origin is not None and origin in origins:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Vary"] = "Origin"
    if request.method == "OPTIONS" and "Access-Control-Allow-Origin" in headers:
        headers["Access-Control-Allow-Methods"] = "GET, POST"
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-CSRF-Token"
        headers["Access-Control-Max-Age"] = "600"
