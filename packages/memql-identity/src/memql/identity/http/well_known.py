"""``/.well-known/jwks.json`` and ``/.well-known/memql-config.json``."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from memql.config import Settings
from memql.config.value_types import parse_clients
from memql.identity.http.answers import json_answer
from memql.identity.keyring import KeyRing

__all__ = ["CONFIG_PATH", "JWKS_PATH", "WellKnown"]

JWKS_PATH = "/.well-known/jwks.json"
CONFIG_PATH = "/.well-known/memql-config.json"
_KEPT = {"Cache-Control": "public, max-age=300"}
_CLI = "memql-cli"


class WellKnown:
    """What anybody may know of the service."""

    def __init__(self, settings: Settings, ring: KeyRing) -> None:
        self._settings = settings
        self._ring = ring

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        """The public keys."""
        return json_answer(self._ring.jwks(), headers=_KEPT)

    async def config(self, request: web.Request) -> web.StreamResponse:
        """How command lines find their way: the issuer, its keys, its gRPC endpoint, the client they are."""
        settings = self._settings
        scheme = "grpcs" if settings.grpc_tls_cert_file else "grpc"
        host = urlsplit(settings.identity_base_url).hostname or ""
        shown = f"[{host}]" if ":" in host else host
        clients = parse_clients(settings.identity_registered_clients)
        return json_answer(
            {
                "issuer": settings.identity_base_url,
                "jwksUri": settings.issuer_jwks_url,
                "grpcEndpoint": f"{scheme}://{shown}:{settings.grpc_address.port}",
                "clientId": _CLI if _CLI in clients else next(iter(clients), ""),
            },
            headers=_KEPT,
        )
