"""Who may open NodeService.Stream (spec "Handshake and authentication")."""

from __future__ import annotations

from memql.auth.claims import Claims, TokenClass
from memql.auth.credentials import CredentialStore
from memql.auth.refusals import Cause, RefusedError
from memql.auth.schemes import read_authorization
from memql.auth.standing import Credential
from memql.auth.surfaces import CLASS_KINDS, Surface, admit
from memql.auth.verifier import TokenVerifier
from memql.errors import Code, MemqlError

__all__ = ["verify_node"]


async def verify_node(authorization: str, *, verifier: TokenVerifier, credentials: CredentialStore) -> Claims:
    """The claims of another node, from its ``authorization`` value. That they name the node in the hello that follows
    is the caller's check; so is registering the stream with :class:`memql.auth.revocation.RevocationWatch`, for
    ``Credential.of(claims)``.

    :raises MemqlError: ``UNAUTHENTICATED`` when the token is missing, malformed, unverifiable or expired, or its row
        cannot be looked up: a fresh token may help. ``FORBIDDEN`` when it is sound but not a node's, or its row is
        revoked or not there: a fresh token would not help. ``UNAVAILABLE`` while no public key is known.
    """
    shown = read_authorization(authorization)
    if shown.kind is not None:
        admit(Surface.NODE_SERVICE, shown.kind)
    claims = await _verified(shown.secret, verifier)
    admit(Surface.NODE_SERVICE, CLASS_KINDS[claims.token_class])
    assert claims.token_class is TokenClass.NODE
    await _check_row(claims, credentials)
    return claims


async def _verified(token: str, verifier: TokenVerifier) -> Claims:
    try:
        return await verifier.verify(token)
    except RefusedError as error:
        if error.cause is Cause.CLASS_CLAIM:
            raise _forbidden("the token does not say which node it is for") from error
        raise


async def _check_row(claims: Claims, credentials: CredentialStore) -> None:
    try:
        standing = await credentials.standing(Credential.of(claims))
    except MemqlError as error:
        raise RefusedError(Cause.UNCHECKED, error.message) from error
    if standing.refusal is not None:
        raise _forbidden("the credential of this node is revoked")
    row = standing.identity
    if row is None or (row.node_id, row.node_type) != (claims.node_id, claims.node_type):
        raise _forbidden("the credential's row is about another node")


def _forbidden(reason: str) -> MemqlError:
    return MemqlError(Code.FORBIDDEN, f"NodeService: {reason}")
