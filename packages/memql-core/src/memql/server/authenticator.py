"""From what a caller shows to who it is: the authenticator of every node that verifies tokens (spec "Pipeline")."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from memql.auth import machine, operator, person
from memql.auth.claims import Claims, TokenClass
from memql.auth.credentials import CredentialStore
from memql.auth.refusals import Cause, RefusedError
from memql.auth.schemes import Shown, read_authorization
from memql.auth.standing import Credential, Standing
from memql.auth.surfaces import CLASS_KINDS, CredentialKind, Surface, admit
from memql.auth.verifier import TokenVerifier
from memql.engine.audit_trail import AuditEvent
from memql.server.ports import Credentials, Principal

__all__ = ["OperatorGate", "TokenAuthenticator"]

log = logging.getLogger(__name__)

Audit = Callable[[AuditEvent], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorGate:
    """The operator credential. An empty ``token`` means there is none; once the cluster has an owner it counts with
    ``break_glass`` only."""

    token: str = field(default="", repr=False)
    break_glass: bool = False


class TokenAuthenticator:
    """Implements :class:`memql.server.ports.Authenticator`.

    :param audit: records what operators do; must not fail.
    :param on_issuer: whether this node is the identity service, whose MemqlService admits fewer.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        credentials: CredentialStore,
        audit: Audit,
        *,
        gate: OperatorGate = OperatorGate(),
        on_issuer: bool = False,
    ) -> None:
        self.verifier = verifier
        self.credentials = credentials
        self._audit = audit
        self._gate = gate
        self._on_issuer = on_issuer

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Verify and admit.

        :raises MemqlError: ``UNAUTHENTICATED`` with one fixed text whatever is wrong with the credential,
            ``FORBIDDEN`` for one that is sound but not admitted on this surface, ``UNAVAILABLE`` or ``TIMEOUT`` when
            keys or rows cannot be looked up.
        """
        shown = read_authorization(credentials.authorization)
        surface = self._surface(credentials.surface)
        if shown.kind is None:
            return await self._token(shown, surface)
        if shown.kind is CredentialKind.PAT:
            return await self._personal(shown, surface)
        if shown.kind is CredentialKind.OPERATOR:
            return await self._operator(shown, surface, credentials.peer)
        # Nothing issues the others yet: where the matrix would admit one, there is none that could be shown.
        admit(surface, shown.kind)
        raise RefusedError(Cause.UNKNOWN, shown.kind.value)

    def _surface(self, surface: Surface) -> Surface:
        if self._on_issuer and surface is Surface.MEMQL_SERVICE:
            return Surface.ISSUER_MEMQL_SERVICE
        return surface

    # --- JWT --------------------------------------------------------------------------------------------------------

    async def _token(self, shown: Shown, surface: Surface) -> Principal:
        claims = await self.verifier.verify(shown.secret)
        credential = Credential.of(claims)
        standing = await self._standing(credential)
        if claims.token_class is TokenClass.USER:
            principal = _of_user(credential, standing, surface)
        else:
            principal = _of_machine(claims, credential, surface)
        admit(surface, CLASS_KINDS[claims.token_class], principal.actor.role)
        return replace(principal, expires_at=claims.expires_at)

    async def _standing(self, credential: Credential) -> Standing:
        standing = await self.credentials.standing(credential)
        if standing.refusal is not None:
            raise RefusedError(standing.refusal, f"class {credential.kind.value}")
        return standing

    # --- personal access tokens ---------------------------------------------------------------------------------------

    async def _personal(self, shown: Shown, surface: Surface) -> Principal:
        credential = await self.credentials.find_pat(shown.secret)
        if credential is None:
            raise RefusedError(Cause.UNKNOWN, "no such personal access token")
        principal = _of_user(credential, await self._standing(credential), surface)
        admit(surface, CredentialKind.PAT, principal.actor.role)
        return principal

    # --- operator ---------------------------------------------------------------------------------------------------

    async def _operator(self, shown: Shown, surface: Surface, peer: str) -> Principal:
        admit(surface, CredentialKind.OPERATOR)
        if not self._gate.token or not hmac.compare_digest(shown.secret.encode(), self._gate.token.encode()):
            raise RefusedError(Cause.UNKNOWN, "operator")
        if not self._gate.break_glass and await self.credentials.is_claimed():
            await self._audit(_operator_event(peer, outcome_reason="cluster_claimed"))
            raise RefusedError(Cause.DISABLED, "the cluster has its owner; MEMQL_OPERATOR_BREAK_GLASS is off")
        await self._audit(_operator_event(peer))
        log.warning("the operator credential was used from %s", peer or "an unknown place")
        return Principal(actor=operator(), credential_class=CredentialKind.OPERATOR, surface=surface)


def _of_user(credential: Credential, standing: Standing, surface: Surface) -> Principal:
    user, session = standing.user, standing.session
    assert user is not None
    identity_id = session.identity_id if session is not None else credential.credential_id
    return Principal(
        actor=person(user.id, role=user.role, email=user.email, identity_id=identity_id),
        credential_class=credential.kind,
        surface=surface,
        credential=credential,
        credential_id=credential.credential_id,
        session_id=credential.session_id,
        expires_at=standing.identity.expires_at if standing.identity is not None else None,
        given_name=user.first_name,
        family_name=user.last_name,
        phone=user.phone,
    )


def _of_machine(claims: Claims, credential: Credential, surface: Surface) -> Principal:
    principal = claims.subject
    if claims.token_class is not TokenClass.SERVICE_ACCOUNT:
        principal = f"{claims.token_class.value}:{claims.node_id}"
    return Principal(
        actor=machine(claims.token_class.value, principal, credential.credential_id),
        credential_class=credential.kind,
        surface=surface,
        credential=credential,
        credential_id=credential.credential_id,
    )


def _address(peer: str) -> str:
    """The address of a peer as HTTP names it, or as gRPC does: ``ipv4:192.0.2.1:4711``, ``ipv6:%5B::1%5D:4711``."""
    family, _, rest = peer.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if family in {"ipv4", "ipv6"} else peer


def _operator_event(peer: str, *, outcome_reason: str = "") -> AuditEvent:
    return AuditEvent(
        category="auth",
        action="operator_admitted",
        actor=operator(),
        source_ip=_address(peer),
        outcome="blocked" if outcome_reason else "success",
        failure_reason=outcome_reason,
    )
