"""The role as a node sees it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from memql.errors import Code, MemqlError
from memql.node.roles import Component, Role

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    from memql.config import Settings
    from memql.identity.keyring import KeyRing
    from memql.identity.service import IdentityService
    from memql.node.trust import LocalIssuer
    from memql.server.ports import Services

__all__ = ["IdentityRole"]

log = logging.getLogger(__name__)


class IdentityRole(Role):
    """The node type ``identity``. It issues tokens where ``IDENTITY_BASE_URL`` names it; a development machine may run
    without, and then nobody needs a token."""

    name: ClassVar[str] = "identity"
    port: ClassVar[int] = 50061
    mesh_worker: ClassVar[bool] = False

    def __init__(self) -> None:
        self._ring: KeyRing | None = None
        self._service: IdentityService | None = None
        self._routes: Sequence[web.RouteDef] = ()

    def issuer(self, settings: Settings) -> LocalIssuer | None:
        """The keys, once the settings have been judged.

        :raises MemqlError: ``CONFIG_INVALID`` as :func:`memql.identity.guards.check_issuer` and
            :func:`memql.identity.keyring.load_keys`, or without a base URL outside development.
        """
        if not settings.identity_base_url:
            if not settings.explicit_development:
                raise MemqlError(
                    Code.CONFIG_INVALID,
                    "IDENTITY_BASE_URL is not set: an identity node must know the name it issues in",
                )
            log.debug("IDENTITY_BASE_URL is not set: no tokens are issued here")
            return None
        from memql.identity.guards import check_issuer
        from memql.identity.keyring import load_keys
        from memql.node.trust import LocalIssuer

        check_issuer(settings)
        self._ring = load_keys(settings)
        return LocalIssuer(keys=self._ring, issuer=settings.identity_base_url, audience=settings.identity_jwt_audience)

    async def prepare(self, services: Services) -> None:
        """Put the service together; claim a new cluster that is to be claimed unattended."""
        if self._ring is None:
            return
        from memql.engine.write import Seeder
        from memql.identity.first_owner import claim_cluster
        from memql.identity.service import IdentityService, open_issuing

        writer, database, settings = services.writer, services.database, services.settings
        assert writer is not None
        assert database is not None
        issuing = open_issuing(settings, self._ring, writer, database)
        self._service = IdentityService(settings, self._ring, issuing, writer)
        self._routes = self._service.routes()
        tries = 0

        async def claim() -> None:
            nonlocal tries
            tries += 1
            owner = await claim_cluster(settings, writer)
            # Nobody listens yet who would write the seeds of a new user. After a failure it may be that the first try
            # was written, and only its answer did not come.
            if owner is not None or tries > 1:
                await Seeder(writer, database, services.engine.catalog).apply()

        await database.ride_out("the claim of the cluster", claim)

    def http_routes(self, services: Services) -> Iterable[web.AbstractRouteDef]:
        """Those of the service."""
        return self._routes

    def http_middlewares(self, services: Services) -> Iterable[Middleware]:
        """Headers and CORS."""
        return () if self._service is None else [self._service.middleware(self._routes)]

    def components(self, services: Services) -> Iterable[Component]:
        """The rotation of keys that this node keeps itself."""
        if self._service is None or not self._service.ring.rotates:
            return ()
        return [Component("key rotation", self._service.rotation().run)]
