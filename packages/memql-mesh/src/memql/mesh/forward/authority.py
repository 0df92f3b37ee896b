"""On whose behalf a request is forwarded: what the asking node resolved for its caller, and what the asked node makes
of it (spec "Forwarding", Authority).

The asked node does not look the caller up again: the asking one has, and says until when that holds. What does not fit
together is refused; there is no fallback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from memql.auth import ROLE_RANK, Actor
from memql.auth.surfaces import CredentialKind
from memql.errors import Code, MemqlError
from memql.mesh.wire.messages import ForwardedAuthority, PrincipalKind, SiForwardRequest
from memql.server.ports import NodeIdentity, Principal
from memql.wire.generated import message_bytes, parse_message
from memql.wire.protobuf import MalformedMessageError

__all__ = ["Sayings", "authority_of", "claims_of", "principal_of", "principal_said"]

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
_REMEMBERED_BYTES: Final = 4096
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


class Sayings:
    """What this node says of callers, as bytes of a forwarded request: the same caller mostly asks again at once."""

    def __init__(self, own: NodeIdentity, *, clock: Callable[[], float] = time.time) -> None:
        self._own = own
        self._clock = clock
        self._second = 0
        self._said: dict[int, tuple[Principal, bytes]] = {}

    def of(self, principal: Principal) -> bytes:
        """The attribution and the authority, asserted in this second."""
        if (second := int(self._clock())) != self._second:
            self._second = second
            self._said.clear()
        known = self._said.get(id(principal))
        if known is not None:
            return known[1]
        said = message_bytes(SiForwardRequest(auth=claims_of(principal), authority=authority_of(principal, self._own)))
        # The principal is kept beside what is said of it, so that its id is no other's meanwhile.
        self._said[id(principal)] = principal, said
        return said


def principal_said(said: bytes, peer_id: str) -> Principal:
    """Who a forwarded request acts for, from what it says: :func:`principal_of` for bytes.

    :raises MemqlError: as there; ``INVALID_ARGUMENT`` for bytes that say nothing.
    """
    resolve = _resolved if len(said) <= _REMEMBERED_BYTES else _resolved.__wrapped__
    principal = resolve(said, peer_id)
    _check_expiry(0 if principal.expires_at is None else int(principal.expires_at.timestamp()))
    return principal


@lru_cache(maxsize=1024)
def _resolved(said: bytes, peer_id: str) -> Principal:
    try:
        message = parse_message(SiForwardRequest, said)
    except MalformedMessageError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the forwarded authority cannot be read: {error}") from error
    assert isinstance(message, SiForwardRequest)
    return principal_of(message.authority, message.auth, peer_id)


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
    _check_expiry(authority.expires_at_unix)
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


def _check_expiry(expires_at: int) -> None:
    if expires_at and expires_at + _LEEWAY < time.time():
        raise MemqlError(Code.UNAUTHENTICATED, "the forwarded request: the caller's credential has expired")


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
