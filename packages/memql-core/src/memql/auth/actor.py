"""Who acts: the envelope that the language sees as ``actor`` (spec "Reserved names", "Actor envelope")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ROLE_RANK", "Actor", "guest", "local_owner", "machine", "operator", "person", "system"]

ROLE_RANK: Mapping[str, int] = {
    "guest": 0,
    "reader": 1,
    "service_account": 1,
    "voice_agent": 1,
    "writer": 2,
    "admin": 3,
    "owner": 4,
    "system": 5,
}
"""Roles from least to most; a role not listed ranks below ``guest``. A machine may call what a reader may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One caller for the length of one request.

    ``user_id`` is the full id of the user row, or empty for a principal that is no user. ``principal`` is what
    ``createdBy`` records: the user id, else ``system:...``, ``guest:<id>`` or another credential's name.
    """

    user_id: str = ""
    role: str = "guest"
    identity_id: str = ""
    is_cluster_owner: bool = False
    primary_email: str = ""
    principal: str = ""
    permissions: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def created_by(self) -> str:
        """What ``createdBy`` records for writes of this actor."""
        return self.user_id or self.principal or "guest:anonymous"

    @property
    def is_system(self) -> bool:
        """Whether this is the system itself (automations, seeds, migrations)."""
        return self.role == "system"

    @property
    def is_read_only(self) -> bool:
        """Whether the caller may change nothing, whatever it calls: a service account."""
        return self.role == "service_account"

    @property
    def bypasses_row_rules(self) -> bool:
        """Whether ``@rowAuthz`` does not apply: the system and the cluster owner."""
        return self.is_system or self.is_cluster_owner

    def has_role(self, lowest: str) -> bool:
        """Whether the role is at or above ``lowest``; ``system`` is above all."""
        return ROLE_RANK.get(self.role, -1) >= ROLE_RANK.get(lowest, 99)

    def has_permission(self, scope: str) -> bool:
        """Whether the caller holds a scope; system and cluster owner hold all."""
        return self.bypasses_row_rules or scope in self.permissions


def system(principal: str) -> Actor:
    """A system actor, for example ``system("system:seed")`` or ``system("system:automation:sweep")``."""
    return Actor(role="system", principal=principal)


def guest(invitation_id: str = "anonymous") -> Actor:
    """A caller without an account; reaches only public constructs."""
    return Actor(role="guest", principal=f"guest:{invitation_id}")


def person(user_id: str, *, role: str, email: str = "", identity_id: str = "") -> Actor:
    """A user, signed in or by a personal access token.

    :param identity_id: the credential's row.
    """
    return Actor(
        user_id=user_id,
        role=role,
        identity_id=identity_id,
        is_cluster_owner=role == "owner",
        primary_email=email,
    )


def machine(role: str, principal: str, identity_id: str) -> Actor:
    """A service account or a voice agent, which is no user.

    :param role: the class of its credential.
    """
    return Actor(role=role, principal=principal, identity_id=identity_id)


def operator() -> Actor:
    """Whoever holds the operator credential: the owner of the cluster, without an account."""
    return Actor(role="owner", is_cluster_owner=True, principal="cluster:operator")


def local_owner() -> Actor:
    """The synthetic owner of no-auth mode (spec "Credentials, handshake, rotation")."""
    return Actor(
        user_id="v1:identity:user:local-dev",
        role="owner",
        identity_id="v1:identity:identity:local-dev",
        is_cluster_owner=True,
        primary_email="local-dev@memql.local",
    )
