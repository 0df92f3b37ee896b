"""What a caller shows in ``authorization``, told apart by scheme and prefix before anything is looked up or parsed
(spec "Token families")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from memql.auth.refusals import Cause, RefusedError
from memql.auth.surfaces import CredentialKind

__all__ = ["Shown", "hash_of", "read_authorization"]

_PREFIXED = re.compile(r"mql_(pat|wkr)_[A-Za-z0-9_-]{43}")
_GUEST = re.compile(r"[A-Za-z0-9_-]{43}")
_BY_PREFIX = {"pat": CredentialKind.PAT, "wkr": CredentialKind.WORKER}
_BY_SCHEME: Mapping[str, CredentialKind] = {
    "operator": CredentialKind.OPERATOR,
    "bootstrap": CredentialKind.BOOTSTRAP,
    "pair": CredentialKind.PAIRING,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A credential as it was shown. ``kind`` is None for a JWT, whose class only its claims tell."""

    kind: CredentialKind | None
    secret: str = field(repr=False)


def hash_of(secret: str) -> str:
    """What is stored of a secret: lower-hex SHA-256 of the trimmed text."""
    return hashlib.sha256(secret.strip().encode()).hexdigest()


def read_authorization(value: str) -> Shown:
    """Tell apart what was shown.

    :raises RefusedError: when nothing was, when the scheme is unknown, or when the form is none of its scheme.
    """
    scheme, _, secret = value.strip().partition(" ")
    secret = secret.strip()
    if not scheme:
        raise RefusedError(Cause.MISSING)
    if not secret or any(character.isspace() for character in secret):
        raise RefusedError(Cause.MALFORMED, "no single secret after the scheme")
    match scheme.lower():
        case "bearer":
            return _bearer(secret)
        case "worker":
            return _prefixed(secret, CredentialKind.WORKER)
        case "guest":
            if not _GUEST.fullmatch(secret):
                raise RefusedError(Cause.MALFORMED, "no guest token")
            return Shown(CredentialKind.GUEST, secret)
        case other if kind := _BY_SCHEME.get(other):
            return Shown(kind, secret)
    raise RefusedError(Cause.SCHEME)


def _bearer(secret: str) -> Shown:
    if not secret.startswith("mql_"):
        return Shown(None, secret)
    return _prefixed(secret)


def _prefixed(secret: str, wanted: CredentialKind | None = None) -> Shown:
    match = _PREFIXED.fullmatch(secret)
    kind = _BY_PREFIX[match[1]] if match else None
    if kind is None or wanted not in (None, kind):
        raise RefusedError(Cause.MALFORMED, "no token of that prefix")
    return Shown(kind, secret)
