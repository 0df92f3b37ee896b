"""An identity service made for tests: keys, tokens of any shape, a JWKS on a socket, and the rows behind tokens."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memql.auth import system
from memql.auth.keys import PublicKey
from memql.auth.schemes import hash_of
from memql.auth.standing import IDENTITY_CONCEPT, SESSION_CONCEPT, USER_CONCEPT
from memql.engine.context import RequestContext, format_instant
from memql.engine.write import GraphWriter
from memql.engine.write.intents import Intent

ISSUER = "https://identity.test"
SYSTEM = RequestContext(actor=system("system:test"))


@dataclass
class Signer:
    """One key and the tokens it signs."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> PublicKey:
        return PublicKey.of(self.private.public_key().public_bytes_raw())

    def token(self, headers: dict[str, Any] | None = None, life: float = 600.0, **claims: Any) -> str:
        """A user's token unless ``claims`` say otherwise; a claim that is None is left out."""
        now = int(time.time())
        said = {
            "iss": ISSUER,
            "aud": "memql",
            "sub": f"{USER_CONCEPT}:ada",
            "iat": now,
            "nbf": now,
            "exp": int(now + life),
            "jti": secrets.token_hex(8),
            "sid": f"{SESSION_CONCEPT}:s1",
            **claims,
        }
        given = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(given, self.private, algorithm="EdDSA", headers={"kid": self.public.kid, **(headers or {})})


class Keys:
    """A key source that holds some keys."""

    def __init__(self, *keys: PublicKey) -> None:
        self._keys = {key.kid: key for key in keys}

    @property
    def ready(self) -> bool:
        return bool(self._keys)

    async def find(self, kid: str) -> PublicKey | None:
        return self._keys.get(kid)


@dataclass
class JwksServer:
    """A JWKS document on a socket. ``hits`` counts how often it was asked for."""

    keys: list[PublicKey]
    url: str = ""
    hits: int = 0
    status: int = 200
    body: bytes | None = None
    held: anyio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.hits += 1
        if self.held is not None:
            await self.held.wait()
        if self.body is not None:
            return web.Response(body=self.body, status=self.status)
        return web.json_response({"keys": [key.to_jwk() for key in self.keys]}, status=self.status)

    @property
    def base(self) -> str:
        """What a verifier is configured with."""
        return self.url.removesuffix("/.well-known/jwks.json")


@asynccontextmanager
async def serving_jwks(*keys: PublicKey, tls: ssl.SSLContext | None = None) -> AsyncIterator[JwksServer]:
    server = JwksServer(list(keys))
    app = web.Application()
    app.router.add_get("/.well-known/jwks.json", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/.well-known/jwks.json"
        yield server
    finally:
        await runner.cleanup()


@dataclass
class Rows:
    """Writes the rows behind credentials, as an identity service would, and changes them."""

    writer: GraphWriter

    async def user(self, short: str = "ada", **more: Any) -> str:
        payload = {"displayName": short, "firstName": short.title(), "primaryEmail": f"{short}@example.com", **more}
        return await self._insert(USER_CONCEPT, short, payload)

    async def session(self, short: str, user: str) -> str:
        soon = format_instant(datetime.now(UTC) + timedelta(days=1))
        payload = {"userId": user, "subject": user, "tokenHash": "0", "source": "bff_exchange", "expiresAt": soon}
        return await self._insert(SESSION_CONCEPT, short, payload)

    async def pat(self, token: str, user: str, **credentials: Any) -> str:
        return await self.identity("api_key", {"keyHash": hash_of(token), **credentials}, user=user)

    async def node(self, node_id: str, node_type: str) -> str:
        held = {"nodeId": node_id, "nodeType": node_type, "keyHash": secrets.token_hex(32), "mintedBy": "test"}
        return await self.identity("node_token", held)

    async def voice_agent(self, instance: str) -> str:
        held = {"instanceId": instance, "keyHash": secrets.token_hex(32), "mintedBy": "test"}
        return await self.identity("voice_agent_token", held)

    async def service_account(self, label: str) -> str:
        return await self.identity("service_account", {"accountId": "system:gate", "label": label})

    async def identity(self, kind: str, credentials: dict[str, Any], user: str = "") -> str:
        payload = {"userId": user, "identityType": kind, "credentials": credentials}
        return await self._insert(IDENTITY_CONCEPT, secrets.token_hex(8), payload)

    async def change(self, row_id: str, **change: Any) -> None:
        rules = self.writer.rules(row_id.rpartition(":")[0])
        await self.writer.run(Intent(kind="update", rules=rules, id=row_id, payload=change), SYSTEM)

    async def revoke(self, row_id: str) -> None:
        if row_id.startswith(SESSION_CONCEPT):
            await self.change(row_id, revokedAt=format_instant(datetime.now(UTC)), revokedReason="admin")
        else:
            await self.change(row_id, active=False)

    async def _insert(self, concept: str, short: str, payload: dict[str, Any]) -> str:
        result = await self.writer.insert(concept, payload, SYSTEM, id=short)
        return result.root_ids[0]
