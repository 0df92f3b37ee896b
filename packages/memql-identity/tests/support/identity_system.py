"""A whole identity node on real sockets, and what tests ask of it."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from issuer_system import Rows, Signer
from trusted_system import Callers, Trusted, environment

from memql.config import Settings
from memql.config.loading import load_settings
from memql.identity.issuing import Issuing
from memql.identity.keyring import KeyRing
from memql.identity.role import IdentityRole
from memql.node import Node, open_node

BASE = "http://identity.localhost:8085"
SHARED_SECRET = "shared-" + "s" * 40
OWNER = {
    "IDENTITY_BOOTSTRAP_DOMAIN": "example.com",
    "IDENTITY_BOOTSTRAP_OWNER_EMAIL": "Ada@Example.com",
    "IDENTITY_BOOTSTRAP_OWNER_FIRST_NAME": "Ada",
    "IDENTITY_BOOTSTRAP_OWNER_LAST_NAME": "Lovelace",
    "IDENTITY_BOOTSTRAP_REGISTRATION_MODE": "invite_only",
}


def seed_text(seed: bytes | None = None) -> str:
    """A seed as settings have it."""
    return b64encode(seed or secrets.token_bytes(32)).decode()


def identity_environment(dsn: str, home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of an identity node of a development machine, with keys in its home."""
    given = {
        "MEMQL_ENVIRONMENT": "development",
        "MEMQL_NODE_TYPE": "identity",
        "IDENTITY_BASE_URL": BASE,
        "IDENTITY_KEY_DIR": str(home / "keys"),
        "IDENTITY_VERIFIER_REVOCATION_CHECK_SECONDS": "0.3",
        "MEMQL_NODE_BOOTSTRAP_TOKEN": SHARED_SECRET,
        "MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP": "1",
        **(more or {}),
    }
    return environment(dsn, home, **{name: value for name, value in given.items() if value != "-"})


def issuer_settings(home: Path, more: Mapping[str, str] | None = None) -> Settings:
    """The settings of an issuer that opens no database."""
    return load_settings(identity_environment("", home, more))


@dataclass
class Identity:
    """A running identity node."""

    node: Node
    role: IdentityRole
    settings: Settings
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def http(self) -> str:
        return f"http://{self.node.server.http_address}"

    @property
    def ring(self) -> KeyRing:
        assert self.role._ring is not None
        return self.role._ring

    @property
    def issuing(self) -> Issuing:
        assert self.role._service is not None
        return self.role._service.issuing

    @property
    def rows(self) -> Rows:
        return Rows(self.node.engine.writer)

    async def get(self, path: str, **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and decoded body."""
        async with aiohttp.ClientSession() as http, http.get(self.http + path, headers=headers) as response:
            return response.status, response.headers, await response.json()

    async def bootstrap(self, secret: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Ask for a node's credential."""
        shown = {"Authorization": f"Bootstrap {secret}", **headers} if secret else headers
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.http}/node/bootstrap", headers=shown, **given) as response,
        ):
            return response.status, await response.json()

    async def trail(self, action: str = "") -> list[dict[str, Any]]:
        """The audit events, oldest first."""
        found = await self.node.database.fetch(
            "SELECT payload FROM memory_heads WHERE concept = 'v1:identity:auditEvent' ORDER BY seq"
        )
        return [payload for (payload,) in found if action in ("", payload["action"])]

    async def row(self, row_id: str) -> dict[str, Any]:
        """The payload of a row."""
        found = await self.node.database.fetch_one("SELECT payload FROM memory_heads WHERE id = %s", (row_id,))
        assert found is not None
        payload: dict[str, Any] = found[0]
        return payload


@asynccontextmanager
async def identity_node(dsn: str, home: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[Identity]:
    """An identity node; ``more`` are further variables, ``-`` takes one away."""
    settings = load_settings(identity_environment(dsn, home, more))
    role = IdentityRole()
    async with open_node(settings, roles=[role]) as node:
        yield Identity(node, role, settings)


@asynccontextmanager
async def trusted_identity(dsn: str, home: Path) -> AsyncIterator[Trusted]:
    """An identity node with callers of every kind, whose tokens are signed with its key."""
    seed = secrets.token_bytes(32)
    async with identity_node(dsn, home, {"IDENTITY_SIGNING_KEY_B64": seed_text(seed)}) as identity:
        signer = Signer(Ed25519PrivateKey.from_private_bytes(seed))
        callers = Callers(identity.rows, signer, issuer=BASE)
        await callers.prepare()
        yield Trusted(identity.node, callers)
