"""When a node may run without identity, and who its callers are then (spec "Credentials, handshake, rotation")."""

from __future__ import annotations

import logging

from memql.auth import local_owner
from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.server import metrics
from memql.server.ports import Authenticator, Credentials, Principal

__all__ = ["LocalOwner", "choose_authenticator"]

log = logging.getLogger(__name__)


class LocalOwner:
    """Takes every caller for the owner of a development machine."""

    def __init__(self) -> None:
        self._principal = Principal(actor=local_owner())

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The local owner, whatever is shown."""
        return self._principal


def choose_authenticator(settings: Settings, verifier: Authenticator | None) -> Authenticator:
    """The verifier of the installed identity plug-in, or the local owner where that is allowed.

    Nobody needs a credential only if all of this holds: ``IDENTITY_VERIFIER_BASE_URL`` is unset,
    ``MEMQL_ENVIRONMENT=development`` is set, and every listener is on loopback.

    :raises MemqlError: ``CONFIG_INVALID`` saying which of them does not hold.
    """
    if settings.identity_verifier_base_url:
        if verifier is None:
            raise MemqlError(
                Code.CONFIG_INVALID,
                "IDENTITY_VERIFIER_BASE_URL is set, but nothing installed here can verify tokens; install the "
                "distribution that does, or unset it to develop on this machine alone",
            )
        return verifier
    missing = []
    if not settings.explicit_development:
        missing.append("MEMQL_ENVIRONMENT=development is not set")
    missing.extend(f"{address} is not on loopback" for address in settings.listeners if not address.is_loopback)
    if missing:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"refusing to start without identity: {'; '.join(missing)}. Set IDENTITY_VERIFIER_BASE_URL, or run on "
            "this machine alone with MEMQL_ENVIRONMENT=development, MEMQL_GRPC_ADDRESS=127.0.0.1:50051 and "
            "SERVER_ADDRESS=127.0.0.1:8085 (memql up does)",
        )
    metrics.no_auth.set(1)
    log.warning("no identity is configured: every caller is the owner local-dev@memql.local")
    return LocalOwner()
