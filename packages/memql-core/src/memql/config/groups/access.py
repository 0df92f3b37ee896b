"""Settings of who may call, and of whose tokens count."""

from __future__ import annotations

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Flag

__all__ = ["AccessSettings"]


class AccessSettings(Group):
    """Verification of callers."""

    identity_enabled: Flag = setting("IDENTITY_ENABLED", default=True, doc="whether callers must show a credential")
    allow_no_auth: Flag = setting(
        "MEMQL_ALLOW_NO_AUTH", default=False, doc="whether a node without identity may leave loopback"
    )
    identity_verifier_base_url: str = setting(
        "IDENTITY_VERIFIER_BASE_URL", default="", doc="base URL of the identity service whose tokens count"
    )
