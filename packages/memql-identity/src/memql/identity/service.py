"""The identity service put together: keys, issuing, routes, rotation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web
from aiohttp.typedefs import Middleware

from memql.auth import system
from memql.config import Settings
from memql.engine.audit_trail import AuditEvent, record_attempt
from memql.engine.write import GraphWriter
from memql.graph.database import Database
from memql.identity.http.answers import shaped
from memql.identity.http.bootstrap import BOOTSTRAP_PATH, NodeBootstrap
from memql.identity.http.surface import surface
from memql.identity.http.well_known import CONFIG_PATH, JWKS_PATH, WellKnown
from memql.identity.issuing import Issuing
from memql.identity.keyring import KeyRing
from memql.identity.minting import Minter
from memql.identity.rotation import Rotation, Step

__all__ = ["IdentityService", "open_issuing"]

_PUBLIC = frozenset({JWKS_PATH, CONFIG_PATH})
_ACTIONS: dict[Step, str] = {
    "staged": "jwks_key_staged",
    "promoted": "jwks_rotated",
    "retired": "jwks_previous_key_retired",
}


def open_issuing(settings: Settings, ring: KeyRing, writer: GraphWriter, database: Database) -> Issuing:
    """What mints with these keys."""
    minter = Minter(ring=ring, issuer=settings.identity_base_url, audience=settings.identity_jwt_audience)
    return Issuing(minter, writer, database)


@dataclass(frozen=True, slots=True)
class IdentityService:
    """The parts of one identity node."""

    settings: Settings
    ring: KeyRing
    issuing: Issuing
    writer: GraphWriter

    def routes(self) -> list[web.RouteDef]:
        """Its HTTP routes."""
        known = WellKnown(self.settings, self.ring)
        bootstrap = NodeBootstrap(self.settings, self.issuing, self.writer)
        return [
            web.get(JWKS_PATH, shaped(known.jwks)),
            web.get(CONFIG_PATH, shaped(known.config)),
            web.post(BOOTSTRAP_PATH, shaped(bootstrap.handle)),
        ]

    def middleware(self, routes: Iterable[web.RouteDef]) -> Middleware:
        """What lies around every answer of the node."""
        return surface(self.settings, frozenset(route.path for route in routes), _PUBLIC)

    def rotation(self) -> Rotation:
        """What replaces keys on disk."""
        return Rotation(
            ring=self.ring,
            every=timedelta(days=self.settings.identity_key_rotation_days),
            overlap=timedelta(hours=self.settings.identity_jwks_overlap_hours),
            longest=self.issuing.longest,
            told=self._told,
        )

    async def _told(self, step: Step) -> None:
        event = AuditEvent(
            category="configuration",
            action=_ACTIONS[step],
            actor=system("system:key-rotation"),
            target_type="config",
            target_id="jwks",
            detail={"current": self.ring.current.kid, "fingerprint": self.ring.fingerprint},
        )
        await record_attempt(self.writer, event)
