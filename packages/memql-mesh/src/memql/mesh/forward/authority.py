"""On whose behalf a request is forwarded: what the asking node resolved for its caller, and what the asked node makes
of it (spec "Forwarding", Authority).

The asked node does not look the caller up again: the asking one has, and says until when that holds. What does not fit
together is refused; there is no fallback.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from memql.auth import ROLE_RANK, Actor
from memql.auth.surfaces import CredentialKind
from memql.errors import Code, MemqlError
from memql.mesh.wire.messages import ForwardedAuthority, PrincipalKind
from memql.server.ports import NodeIdentity, Principal

__all__ = ["authority_of", "claims_of", "principal_of"]

_VERSION: Final = "v1"
_SYSTEM: Final = "system"
_CLASSES: Final = frozenset(
    {
        "user",
        "badge",
        "pat",
        "service_account",
        "app_session",
        "voice_agent",
        "worker_token",
        "node",
        "guest",
        "local_dev",
        "operator",
        _SYSTEM,
    }
)
_ROLES: Final = frozenset({"owner", "admin", "developer", "writer", "reader", "guest", *_CLASSES}) - {_SYSTEM}
_LEEWAY: Final = 30.0
"""Seconds by which the clocks of two nodes may differ."""


def authority_of(principal: Principal, own: NodeIdentity) -> ForwardedAuthority:
    """What this node says of a caller when it forwards for it. A node's own work is done as a reader, for nobody."""
    actor = principal.actor
    system = actor.is_system
    expires = principal.expires_at
    return ForwardedAuthority(
        contract_version=_VERSION,
        principal_kind=PrincipalKind.SYSTEM if system else PrincipalKind.USER,
        subject=principal.subject,
        primary_email=actor.primary_email,
        role="reader" if system else actor.role,
        identity_id=actor.identity_id,
        credential_class=_SYSTEM if system else principal.credential_class.value,
        role_ceiling=principal.role_ceiling,
        expires_at_unix=0 if expires is None else int(expires.timestamp()),
        origin_node_id=own.id,
        origin_node_type=own.type,
        asserted_at_unix=int(time.time()),
        first_name=principal.given_name,
        last_name=principal.family_name,
    )


def claims_of(principal: Principal) -> dict[str, str]:
    """The attribution that goes along for peers of the original protocol; nothing is decided by it."""
    actor = principal.actor
    claims = {
        "sub": principal.subject,
        "email": actor.primary_email,
        "role": "reader" if actor.is_system else actor.role,
        "given_name": principal.given_name,
        "family_name": principal.family_name,
    }
    return {name: value for name, value in claims.items() if value}


def principal_of(authority: ForwardedAuthority | None, claims: Mapping[str, str], peer_id: str) -> Principal:
    """Who a forwarded request acts for.

    :param claims: the attribution beside the authority.
    :param peer_id: the node that it came from.
    :raises MemqlError: ``FORBIDDEN`` for an authority that does not fit together, ``UNAUTHENTICATED`` for an expired
        one.
    """
    if authority is None:
        raise _refused("it says on nobody's behalf; this node takes no claims instead")
    _check(authority, claims, peer_id)
    if authority.expires_at_unix and authority.expires_at_unix + _LEEWAY < time.time():
        raise MemqlError(Code.UNAUTHENTICATED, "the forwarded request: the caller's credential has expired")
    system = authority.principal_kind is PrincipalKind.SYSTEM
    expires = authority.expires_at_unix
    return Principal(
        actor=_actor(authority, system=system),
        credential_class=CredentialKind.NODE if system else _kind(authority.credential_class),
        expires_at=datetime.fromtimestamp(expires, UTC) if expires else None,
        given_name=authority.first_name,
        family_name=authority.last_name,
        role_ceiling=authority.role_ceiling,
    )


def _actor(authority: ForwardedAuthority, *, system: bool) -> Actor:
    is_user = not system and ":user:" in authority.subject
    return Actor(
        user_id=authority.subject if is_user else "",
        role=authority.role,
        identity_id=authority.identity_id,
        is_cluster_owner=authority.role == "owner" and not system,
        primary_email=authority.primary_email,
        principal="" if is_user else authority.subject,
    )


def _kind(credential_class: str) -> CredentialKind:
    try:
        return CredentialKind(credential_class)
    except ValueError:
        # A class of the protocol that no credential of ours has; it acts as the user it names.
        return CredentialKind.USER


def _check(authority: ForwardedAuthority, claims: Mapping[str, str], peer_id: str) -> None:
    system = authority.principal_kind is PrincipalKind.SYSTEM
    of_system = authority.credential_class == _SYSTEM
    if authority.contract_version != _VERSION:
        raise _refused(f"its contract is {authority.contract_version!r}, not {_VERSION!r}")
    if authority.principal_kind not in {PrincipalKind.USER, PrincipalKind.SYSTEM} or not authority.subject:
        raise _refused("it does not say what kind of principal it is for, or who that is")
    if authority.credential_class not in _CLASSES or authority.role not in _ROLES:
        raise _refused(f"{authority.credential_class!r} is no credential class, or {authority.role!r} no role")
    if system is not of_system or (system and (authority.role != "reader" or ":user:" in authority.subject)):
        raise _refused("a system principal has class system and role reader and is no user; others are not")
    if authority.origin_node_id != peer_id:
        raise _refused(f"it was asserted by {authority.origin_node_id!r} and came from {peer_id!r}")
    if claims.get("sub", authority.subject) != authority.subject:
        raise _refused("its attribution names somebody else")
    _check_ceiling(authority)


def _check_ceiling(authority: ForwardedAuthority) -> None:
    ceiling = authority.role_ceiling
    if authority.credential_class == "badge" and not (ceiling and authority.expires_at_unix):
        raise _refused("a badge needs a role ceiling and an expiry")
    if ceiling and ROLE_RANK.get(authority.role, -1) > ROLE_RANK.get(ceiling, -1):
        raise _refused(f"its role {authority.role} is above its ceiling {ceiling}")


def _refused(why: str) -> MemqlError:
    return MemqlError(Code.FORBIDDEN, f"the forwarded request is refused: {why}")
