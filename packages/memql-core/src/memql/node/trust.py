"""What a node needs to tell who calls it: keys, rows, the watch over open streams (spec "RPC authentication")."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from memql.auth.credentials import CredentialStore
from memql.auth.jwks import JwksCache
from memql.auth.keys import KeySource
from memql.auth.revocation import RevocationWatch
from memql.auth.standing import IDENTITY_CONCEPT, SESSION_CONCEPT, USER_CONCEPT
from memql.auth.verifier import TokenVerifier
from memql.config import Settings
from memql.config.tls import http_client_context
from memql.engine.audit_trail import record_attempt
from memql.server.authenticator import OperatorGate, TokenAuthenticator

if TYPE_CHECKING:
    from memql.engine.write import GraphWriter
    from memql.events import Bus
    from memql.graph.database import Database

__all__ = ["LocalIssuer", "Trust", "open_trust"]

_CONCERNED = tuple(f"graph.node.*.{concept}" for concept in (IDENTITY_CONCEPT, SESSION_CONCEPT, USER_CONCEPT))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIssuer:
    """The tokens that this node itself issues: it verifies them with the keys in hand."""

    keys: KeySource
    issuer: str
    audience: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The parts of verification on one node; the mesh verifies its peers with them too."""

    authenticator: TokenAuthenticator
    verifier: TokenVerifier
    credentials: CredentialStore
    watch: RevocationWatch

    def checks(self) -> Sequence[tuple[str, bool]]:
        """Readiness: a node without a public key can admit nobody."""
        return [("verifier_keys", self.verifier.keys.ready)]


@asynccontextmanager
async def open_trust(
    settings: Settings,
    database: Database,
    writer: GraphWriter,
    bus: Bus,
    issuer: LocalIssuer | None,
    *,
    on_issuer: bool = False,
) -> AsyncIterator[Trust]:
    """Verify tokens while the block runs: with the issuer's keys where this node issues them, else with those that the
    identity service publishes, fetched in the background.

    :param on_issuer: whether this node is the identity service and nothing else; its MemqlService admits fewer.
    :raises MemqlError: ``CONFIG_INVALID`` when a file of authorities cannot be used.
    """
    async with anyio.create_task_group() as tasks:
        if issuer is None:
            cache = await _cache(settings)
            tasks.start_soon(cache.run, name="trust: public keys")
            issuer = LocalIssuer(
                keys=cache, issuer=settings.expected_issuer, audience=settings.identity_verifier_audience
            )
        verifier = TokenVerifier(issuer.keys, issuer=issuer.issuer, audience=issuer.audience)
        credentials = CredentialStore(database)
        watch = RevocationWatch(credentials, window=settings.identity_verifier_revocation_check)
        gate = OperatorGate(token=settings.operator_token, break_glass=settings.operator_break_glass)
        authenticator = TokenAuthenticator(
            verifier, credentials, partial(record_attempt, writer), gate=gate, on_issuer=on_issuer
        )
        tasks.start_soon(watch.run, name="trust: revocation")
        tasks.start_soon(_hurry, watch, bus, name="trust: changes")
        yield Trust(authenticator=authenticator, verifier=verifier, credentials=credentials, watch=watch)
        tasks.cancel_scope.cancel()


async def _cache(settings: Settings) -> JwksCache:
    tls: ssl.SSLContext | None = None
    if settings.jwks_url.startswith("https:"):
        tls = await anyio.to_thread.run_sync(http_client_context, settings)
    return JwksCache(
        settings.jwks_url,
        tls=tls,
        refresh=settings.identity_verifier_jwks_refresh,
        timeout=settings.identity_verifier_jwks_timeout,
    )


async def _hurry(watch: RevocationWatch, bus: Bus) -> None:
    """Have the watch look at once when a row that concerns it changes on this node, or a peer tells of one."""
    async with bus.subscribe(_CONCERNED, capacity=1, name="trust") as changes:
        async for _ in changes:
            watch.hurry()
