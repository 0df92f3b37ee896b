"""What the database says about a credential: the rows that can end it, and their judgement (spec "Revocation").

Pure: rows in, a verdict out. :mod:`memql.auth.credentials` reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from memql.auth.claims import Claims, TokenClass
from memql.auth.refusals import Cause, RefusedError
from memql.auth.surfaces import CLASS_KINDS, CredentialKind
from memql.errors import MemqlError
from memql.ids import qualify

__all__ = [
    "IDENTITY_CONCEPT",
    "SESSION_CONCEPT",
    "SETTINGS_ID",
    "USER_CONCEPT",
    "Credential",
    "IdentityRow",
    "Row",
    "SessionRow",
    "Standing",
    "UserRow",
    "judge",
    "read_row",
]

USER_CONCEPT = "v1:identity:user"
IDENTITY_CONCEPT = "v1:identity:identity"
SESSION_CONCEPT = "v1:identity:authSession"
SETTINGS_ID = "v1:identity:clusterSettings:cluster"

IDENTITY_TYPES: Mapping[CredentialKind, str] = {
    CredentialKind.PAT: "api_key",
    CredentialKind.NODE: "node_token",
    CredentialKind.VOICE_AGENT: "voice_agent_token",
    CredentialKind.SERVICE_ACCOUNT: "service_account",
}
"""The ``identityType`` of the row behind a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What must be looked up to know whether a verified credential still counts. Ids are full.

    ``epoch`` is the revocation epoch that a JWT carries; None for anything else.
    """

    kind: CredentialKind
    user_id: str = ""
    session_id: str = ""
    credential_id: str = ""
    epoch: int | None = None

    @classmethod
    def of(cls, claims: Claims) -> Credential:
        """The credential of a verified token.

        :raises RefusedError: when an id in it is none.
        """
        kind = CLASS_KINDS[claims.token_class]
        if claims.token_class is TokenClass.USER:
            return cls(
                kind=kind,
                user_id=_full(claims.subject, USER_CONCEPT),
                session_id=_full(claims.session_id, SESSION_CONCEPT),
                epoch=claims.epoch,
            )
        return cls(kind=kind, credential_id=_full(claims.credential_id, IDENTITY_CONCEPT))

    @property
    def row_ids(self) -> tuple[str, ...]:
        """The rows that can end it."""
        return tuple(filter(None, (self.user_id, self.session_id, self.credential_id)))


def _full(text: str, concept: str) -> str:
    try:
        return qualify(text, concept)
    except MemqlError:
        raise RefusedError(Cause.MALFORMED, f"no id of {concept}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A person. ``suspended`` also when the account is not active."""

    id: str
    suspended: bool
    role: str
    epoch: int
    email: str
    first_name: str
    last_name: str
    phone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A sign-in. Its own expiry is about refreshing; each of its tokens has one too."""

    id: str
    user_id: str
    identity_id: str
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRow:
    """A credential; ``expires_at`` None for never."""

    id: str
    type: str
    user_id: str
    active: bool
    node_id: str
    node_type: str
    expires_at: datetime | None


Row: TypeAlias = UserRow | SessionRow | IdentityRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The verdict on a credential: ``refusal`` is why it does not count, None when it does."""

    refusal: Cause | None = None
    user: UserRow | None = None
    session: SessionRow | None = None
    identity: IdentityRow | None = None


def judge(credential: Credential, rows: Mapping[str, Row], now: datetime) -> Standing:
    """Hold a credential against its rows; a row that is missing has been revoked.

    :param rows: the rows that were found, by full id.
    """
    user = rows.get(credential.user_id)
    session = rows.get(credential.session_id)
    identity = rows.get(credential.credential_id)
    found = Standing(
        user=user if isinstance(user, UserRow) else None,
        session=session if isinstance(session, SessionRow) else None,
        identity=identity if isinstance(identity, IdentityRow) else None,
    )
    refusal = _user_refusal(credential, found) or _session_refusal(credential, found)
    refusal = refusal or _identity_refusal(credential, found, now)
    if refusal is None:
        return found
    return Standing(refusal=refusal, user=found.user, session=found.session, identity=found.identity)


def _user_refusal(credential: Credential, found: Standing) -> Cause | None:
    if not credential.user_id:
        return None
    if found.user is None or found.user.suspended:
        return Cause.USER
    if credential.epoch is not None and credential.epoch < found.user.epoch:
        return Cause.EPOCH
    return None


def _session_refusal(credential: Credential, found: Standing) -> Cause | None:
    if not credential.session_id:
        return None
    session = found.session
    return Cause.SESSION if session is None or session.revoked or session.user_id != credential.user_id else None


def _identity_refusal(credential: Credential, found: Standing, now: datetime) -> Cause | None:
    if not credential.credential_id:
        return None
    identity = found.identity
    if identity is None or not identity.active or identity.type != IDENTITY_TYPES.get(credential.kind):
        return Cause.REVOKED
    # The expiry of a JWT is its own; only a personal access token has none but the row's.
    ends = identity.expires_at if credential.kind is CredentialKind.PAT else None
    return Cause.EXPIRED if ends is not None and ends <= now else None


def read_row(node_id: str, concept: str, payload: Mapping[str, Any]) -> Row | None:
    """A stored row, typed; None for one of another concept."""
    if concept == USER_CONCEPT:
        return _user(node_id, payload)
    if concept == SESSION_CONCEPT:
        return SessionRow(
            id=node_id,
            user_id=_id(payload.get("userId"), USER_CONCEPT),
            identity_id=_id(payload.get("identityId"), IDENTITY_CONCEPT),
            revoked=bool(payload.get("revokedAt")),
        )
    if concept != IDENTITY_CONCEPT:
        return None
    credentials = payload.get("credentials") or {}
    return IdentityRow(
        id=node_id,
        type=str(payload.get("identityType", "")),
        user_id=_id(payload.get("userId"), USER_CONCEPT),
        active=payload.get("active") is not False,
        node_id=str(credentials.get("nodeId", "")),
        node_type=str(credentials.get("nodeType", "")),
        expires_at=_moment(credentials.get("expiresAt")),
    )


def _user(node_id: str, payload: Mapping[str, Any]) -> UserRow:
    return UserRow(
        id=node_id,
        suspended=payload.get("active") is False or bool(payload.get("suspendedAt")),
        role=str(payload.get("role") or "reader"),
        epoch=int(payload.get("revocationEpoch") or 0),
        email=str(payload.get("primaryEmail") or ""),
        first_name=str(payload.get("firstName") or ""),
        last_name=str(payload.get("lastName") or ""),
        phone=str(payload.get("phone") or ""),
    )


def _id(value: Any, concept: str) -> str:
    if not isinstance(value, str) or not value:
        return ""
    return value if value.startswith(concept + ":") else f"{concept}:{value}"


def _moment(value: Any) -> datetime | None:
    """The instant of an RFC 3339 text; an empty one means never."""
    return datetime.fromisoformat(value) if isinstance(value, str) and value else None
