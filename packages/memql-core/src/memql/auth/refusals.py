"""Refused credentials: one text for whoever is refused, the cause for the log and the metric (spec "JWT")."""

from __future__ import annotations

import logging
from enum import Enum

from prometheus_client import Counter

from memql.errors import Code, MemqlError

__all__ = ["REFUSED_TEXT", "Cause", "RefusedError"]

log = logging.getLogger(__name__)

REFUSED_TEXT = "the credential was not accepted; sign in again, or show one that is valid here"
_refused = Counter("memql_auth_refused_total", "Credentials that were refused, by why", ["cause"])


class Cause(str, Enum):
    """Why a credential was refused."""

    MISSING = "missing"
    MALFORMED = "malformed"
    SCHEME = "scheme"
    OVERSIZE = "oversize"
    ALGORITHM = "algorithm"
    CRITICAL_HEADER = "critical_header"
    KEY_ID = "key_id"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    MISSING_CLAIM = "missing_claim"
    UNKNOWN_CLASS = "unknown_class"
    CLASS_CLAIM = "class_claim"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    SESSION = "session"
    USER = "user"
    EPOCH = "epoch"
    UNCHECKED = "unchecked"
    SURFACE = "surface"
    DISABLED = "disabled"


class RefusedError(MemqlError):
    """``UNAUTHENTICATED`` with the fixed text. Making one counts it and logs its ``cause``, once.

    :param detail: what the log says beside the cause; never any part of the credential.
    """

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(Code.UNAUTHENTICATED, REFUSED_TEXT)
        self.cause = cause
        _refused.labels(cause=cause.value).inc()
        log.info("credential refused (%s)%s", cause.value, f": {detail}" if detail else "")
