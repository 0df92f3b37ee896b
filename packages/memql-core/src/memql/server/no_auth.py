"""When a node may run without identity, and who its callers are then (spec "Credentials, handshake, rotation")."""

from __future__ import annotations

import logging

from memql.auth import local_owner
from memql.auth.surfaces import CredentialKind
from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.server import metrics
from memql.server.ports import Credentials, Principal

__all__ = ["LocalOwner", "callers_are_verified", "take_everyone"]

log = logging.getLogger(__name__)


class LocalOwner:
    """Takes every caller for the owner of a development machine."""

    def __init__(self) -> None:
        self._principal = Principal(actor=local_owner(), credential_class=CredentialKind.LOCAL_DEV)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The local owner, whatever is shown."""
        return self._principal


def callers_are_verified(settings: Settings, *, issuing: bool = False) -> bool:
    """Whether callers must show a credential.

    Nobody needs one only if all of this holds: ``IDENTITY_VERIFIER_BASE_URL`` is unset,
    ``MEMQL_ENVIRONMENT=development`` is set, and every listener is on loopback.

    :param issuing: whether this node issues tokens itself, and so can verify them.
    :raises MemqlError: ``CONFIG_INVALID`` saying which of them does not hold.
    """
    if issuing or settings.identity_verifier_base_url:
        return True
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
    return False


def take_everyone() -> LocalOwner:
    """The authenticator of a node without identity; says so in the log and in ``memql_no_auth``."""
    metrics.no_auth.set(1)
    log.warning("no identity is configured: every caller is the owner local-dev@memql.local")
    return LocalOwner()
