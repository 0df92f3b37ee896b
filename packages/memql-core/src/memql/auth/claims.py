"""What a token says: its claims, typed (spec "JWT")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from memql.auth.refusals import Cause, RefusedError

__all__ = ["Claims", "TokenClass", "read_claims"]

_REQUIRED = ("exp", "iat", "nbf", "iss", "aud", "sub", "jti")


class TokenClass(str, Enum):
    """What a token is for. A token without a class is a user's."""

    USER = "user"
    NODE = "node"
    VOICE_AGENT = "voice_agent"
    SERVICE_ACCOUNT = "service_account"


_OWN_CLAIMS: Mapping[TokenClass, tuple[str, ...]] = {
    TokenClass.USER: ("sid",),
    TokenClass.NODE: ("cid", "node_id", "node_type"),
    TokenClass.VOICE_AGENT: ("cid", "node_id"),
    TokenClass.SERVICE_ACCOUNT: ("cid", "node_id"),
}
"""What each class must carry beyond the claims that all must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a verified token.

    ``subject`` is the full id of a user, the id of a node's or voice agent's credential row, or the name of a machine
    principal. ``session_id`` and ``credential_id`` are full ids of the rows that can revoke the token; ``node_id`` is a
    node's id, a voice agent's instance or a service account's label. ``raw`` has every claim as it stands in the token.
    """

    subject: str
    token_class: TokenClass
    issuer: str
    token_id: str
    issued_at: datetime
    not_before: datetime
    expires_at: datetime
    role: str = ""
    email: str = ""
    name: str = ""
    given_name: str = ""
    family_name: str = ""
    internal: bool = False
    session_id: str = ""
    credential_id: str = ""
    node_id: str = ""
    node_type: str = ""
    epoch: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_claims(raw: Mapping[str, Any]) -> Claims:
    """The claims of a token whose signature, issuer, audience and times have been checked.

    :raises RefusedError: when a claim is missing or of the wrong type, or the class is unknown.
    """
    for name in _REQUIRED:
        if not raw.get(name):
            raise RefusedError(Cause.MISSING_CLAIM, f"no {name}")
    token_class = _class_of(raw)
    for name in _OWN_CLAIMS[token_class]:
        if not _text(raw, name):
            raise RefusedError(Cause.CLASS_CLAIM, f"class {token_class.value} without {name}")
    return Claims(
        subject=_text(raw, "sub"),
        token_class=token_class,
        issuer=_text(raw, "iss"),
        token_id=_text(raw, "jti"),
        issued_at=_moment(raw["iat"]),
        not_before=_moment(raw["nbf"]),
        expires_at=_moment(raw["exp"]),
        role=_text(raw, "role"),
        email=_text(raw, "email"),
        name=_text(raw, "name"),
        given_name=_text(raw, "given_name"),
        family_name=_text(raw, "family_name"),
        internal=raw.get("internal") is True,
        session_id=_text(raw, "sid"),
        credential_id=_text(raw, "cid"),
        node_id=_text(raw, "node_id"),
        node_type=_text(raw, "node_type"),
        epoch=_whole(raw, "revocation_epoch"),
        raw=dict(raw),
    )


def _class_of(raw: Mapping[str, Any]) -> TokenClass:
    named = raw.get("class", "user")
    try:
        return TokenClass(named)
    except ValueError:
        raise RefusedError(Cause.UNKNOWN_CLASS, repr(named)[:64]) from None


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise RefusedError(Cause.MALFORMED, f"{name} is no text")
    return value


def _whole(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusedError(Cause.MALFORMED, f"{name} is no whole number")
    return value


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
