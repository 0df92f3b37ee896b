"""Looking at a credential: what it says, and the verdict on it."""

from __future__ import annotations

from typing import Any

import jwt

from memql.auth.credentials import CredentialStore
from memql.auth.refusals import RefusedError
from memql.auth.schemes import read_authorization
from memql.auth.standing import Credential, Standing
from memql.auth.surfaces import CredentialKind
from memql.auth.verifier import TokenVerifier
from memql.identity.commands.opening import Workplace

__all__ = ["inspect_token"]


async def inspect_token(place: Workplace, token: str) -> dict[str, Any]:
    """The claims (of a JWT), the row and ``verdict``: ``valid``, or why not."""
    store = CredentialStore(place.database)
    try:
        shown = read_authorization(f"Bearer {token}")
        if shown.kind is None:
            return await _jwt(place, token, store)
        if shown.kind is CredentialKind.PAT:
            return await _pat(token, store)
    except RefusedError as error:
        return {"verdict": error.cause.value, "claims": _unverified(token)}
    return {"verdict": "unknown", "class": shown.kind.value}


async def _jwt(place: Workplace, token: str, store: CredentialStore) -> dict[str, Any]:
    settings = place.settings
    verifier = TokenVerifier(place.ring, issuer=settings.identity_base_url, audience=settings.identity_jwt_audience)
    claims = await verifier.verify(token)
    standing = await store.standing(Credential.of(claims))
    return {"verdict": _verdict(standing), "class": claims.token_class.value, "claims": dict(claims.raw)}


async def _pat(token: str, store: CredentialStore) -> dict[str, Any]:
    credential = await store.find_pat(token)
    if credential is None:
        return {"verdict": "unknown", "class": "pat"}
    standing = await store.standing(credential)
    row = standing.identity
    return {
        "verdict": _verdict(standing),
        "class": "pat",
        "id": credential.credential_id,
        "userId": credential.user_id,
        "expiresAt": row.expires_at.isoformat() if row is not None and row.expires_at is not None else "",
    }


def _verdict(standing: Standing) -> str:
    return "valid" if standing.refusal is None else standing.refusal.value


def _unverified(token: str) -> dict[str, Any] | None:
    """What a token claims that did not pass; None when it is no token at all."""
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except (jwt.InvalidTokenError, ValueError):
        return None
