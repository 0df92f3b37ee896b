"""Issuing and revoking credentials: a token, its row and the audit event come about together (spec "Token families",
"Command line")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

from memql.auth import Actor, system
from memql.auth.claims import TokenClass
from memql.auth.schemes import hash_of
from memql.auth.standing import IDENTITY_CONCEPT, SESSION_CONCEPT, USER_CONCEPT
from memql.engine.audit_trail import AuditEvent, append_audit
from memql.engine.context import RequestContext, format_instant
from memql.engine.write import GraphWriter
from memql.engine.write.intents import Intent
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.identity.minting import Minted, Minter, random_secret
from memql.ids import derived_id, new_id, qualify

__all__ = ["BOOTSTRAPPED_LIFE", "USUAL_LIFE", "CredentialRevokedError", "Issuing", "NodeRequest"]

NODE_LIFE: Final = timedelta(days=30)
BOOTSTRAPPED_LIFE: Final = timedelta(hours=24)
LONGEST_USER_LIFE: Final = timedelta(hours=24)

USUAL_LIFE: Final[Mapping[str, timedelta]] = {
    "pat": timedelta(days=90),
    "node": NODE_LIFE,
    "voice_agent": timedelta(days=90),
    "service_account": timedelta(hours=1),
}
"""How long each lives unless somebody says otherwise; a user's access token as long as the settings say."""

_LIMITS: Final[Mapping[str, timedelta]] = {
    "user": LONGEST_USER_LIFE,
    "pat": timedelta(days=365),
    "node": timedelta(days=90),
    "voice_agent": timedelta(days=90),
    "service_account": timedelta(hours=24),
}
"""How long each may live. No token outlives the age at which a signing key may be dropped."""

_FIND_USER: LiteralString = f"""
SELECT id, payload FROM memory_heads
WHERE concept = '{USER_CONCEPT}' AND NOT deleted AND (id = %s OR payload ->> 'primaryEmail' = %s)
"""
_LONGEST: LiteralString = f"""
SELECT max((payload #>> '{{credentials,expiresAt}}')::timestamptz) FROM memory_heads
WHERE concept = '{IDENTITY_CONCEPT}' AND NOT deleted
AND payload ->> 'identityType' IN ('node_token', 'voice_agent_token', 'service_account')
AND payload #>> '{{credentials,expiresAt}}' <> ''
"""
_REVOKED_ACTIONS: Final[Mapping[str, str]] = {
    "api_key": "pat_revoked",
    "node_token": "node_token_revoked",
    "worker_token": "worker_revoked",
}


class CredentialRevokedError(MemqlError):
    """The row of the credential is revoked: nothing is minted for it until somebody allows it again."""

    def __init__(self, what: str) -> None:
        super().__init__(Code.CONFLICT, f"the credential of {what} is revoked", retryable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequest:
    """What a node's credential is minted for. ``address`` is where a node that asked by itself did so from."""

    node_id: str
    node_type: str
    minted_by: str
    address: str = ""
    life: timedelta = NODE_LIFE
    reactivate: bool = False


class Issuing:
    """Mints, and writes what it minted; safe to share between tasks."""

    def __init__(self, minter: Minter, writer: GraphWriter, database: Database) -> None:
        self.minter = minter
        self._writer = writer
        self._database = database

    # --- people -----------------------------------------------------------------------------------------------------

    async def mint_user(self, user: str, life: timedelta, *, by: Actor, client: str) -> Minted:
        """A user's access token with a session of its own, by which it can be revoked.

        :param user: the id or the e-mail address of the user.
        :param client: what the session is shown as.
        :raises MemqlError: ``NOT_FOUND`` for nobody, ``FAILED_PRECONDITION`` for a suspended user, ``INVALID_ARGUMENT``
            for a life out of bounds.
        """
        _check_life("user", life)
        user_id, person = await self._user(user)
        session_id = qualify(new_id(), SESSION_CONCEPT)
        token, expires = self.minter.mint(TokenClass.USER, user_id, life, _user_claims(person, session_id))
        now = format_instant(datetime.now(UTC))
        payload = {
            "userId": user_id,
            "subject": user_id,
            "tokenHash": hash_of(token),
            "source": "bff_exchange",
            "clientLabel": client,
            "expiresAt": format_instant(expires),
            "firstAuthenticatedAt": now,
            "lastActivityAt": now,
        }
        event = AuditEvent(
            category="auth",
            action="session_created",
            actor=by,
            target_type="session",
            target_id=session_id,
            target_email=person.get("primaryEmail", ""),
            detail={"userId": user_id, "client": client},
        )
        await self._insert(SESSION_CONCEPT, session_id, payload, event)
        return Minted(token=token, id=session_id, expires_at=expires)

    async def mint_pat(self, user: str, label: str, life: timedelta, *, by: Actor) -> Minted:
        """A personal access token; only its hash is kept.

        :raises MemqlError: as :meth:`mint_user`.
        """
        _check_life("pat", life)
        user_id, person = await self._user(user)
        token, expires = random_secret("mql_pat_"), datetime.now(UTC) + life
        identity_id = qualify(new_id(), IDENTITY_CONCEPT)
        payload = {
            "userId": user_id,
            "identityType": "api_key",
            "label": label,
            "credentials": {"keyHash": hash_of(token), "expiresAt": format_instant(expires)},
        }
        event = _identity_event("pat_created", identity_id, by, {"label": label}, email=person.get("primaryEmail", ""))
        await self._insert(IDENTITY_CONCEPT, identity_id, payload, event)
        return Minted(token=token, id=identity_id, expires_at=expires)

    async def _user(self, user: str) -> tuple[str, Mapping[str, Any]]:
        full = user if user.startswith(USER_CONCEPT + ":") else f"{USER_CONCEPT}:{user}"
        row = await self._database.fetch_one(_FIND_USER, (full, user.lower()))
        if row is None:
            raise MemqlError(Code.NOT_FOUND, f"there is no user {user!r}; give an id or an e-mail address")
        user_id, person = row
        if person.get("active") is False or person.get("suspendedAt"):
            raise MemqlError(Code.FAILED_PRECONDITION, f"the user {user_id} is suspended")
        return user_id, person

    # --- machines ---------------------------------------------------------------------------------------------------

    async def mint_node(self, request: NodeRequest, *, by: Actor) -> Minted:
        """A node's token; there is one row for each type and id.

        :raises MemqlError: :class:`CredentialRevokedError` when that row is revoked and is not to be active again.
        """
        _check_life("node", request.life)
        node_id, node_type = request.node_id, request.node_type
        identity_id = qualify(derived_id("node", node_type, node_id), IDENTITY_CONCEPT)
        own = {"cid": identity_id, "node_id": node_id, "node_type": node_type}
        token, expires = self.minter.mint(TokenClass.NODE, identity_id, request.life, own)
        now = format_instant(datetime.now(UTC))
        credentials = {
            "nodeId": node_id,
            "nodeType": node_type,
            # Nobody is shown it: it only fills the field that tokens which are looked up by hash need.
            "keyHash": hash_of(random_secret("mql_node_")),
            "mintedBy": request.minted_by,
            "expiresAt": format_instant(expires),
            **({"bootstrappedAt": now, "bootstrappedFrom": request.address} if request.address else {}),
        }
        event = _identity_event(
            "node_token_minted", identity_id, by, {"nodeId": node_id, "nodeType": node_type}, address=request.address
        )
        await self._put(
            identity_id, "node_token", f"node {node_type}/{node_id}", credentials, event, request.reactivate
        )
        return Minted(token=token, id=identity_id, expires_at=expires)

    async def mint_voice_agent(
        self,
        instance_id: str,
        life: timedelta,
        *,
        by: Actor,
        minted_by: str,
        reactivate: bool = False,
        address: str = "",
    ) -> Minted:
        """A voice agent's token; there is one row for each instance.

        :raises MemqlError: as :meth:`mint_node`.
        """
        _check_life("voice_agent", life)
        identity_id = qualify(derived_id("voice_agent", instance_id), IDENTITY_CONCEPT)
        own = {"cid": identity_id, "node_id": instance_id}
        token, expires = self.minter.mint(TokenClass.VOICE_AGENT, identity_id, life, own)
        credentials = {
            "instanceId": instance_id,
            "keyHash": hash_of(random_secret("mql_va_")),
            "mintedBy": minted_by,
            "expiresAt": format_instant(expires),
        }
        detail = {"instanceId": instance_id}
        event = _identity_event("voice_agent_token_minted", identity_id, by, detail, address=address)
        what = f"voice agent {instance_id}"
        await self._put(identity_id, "voice_agent_token", what, credentials, event, reactivate)
        return Minted(token=token, id=identity_id, expires_at=expires)

    async def mint_service_account(self, label: str, subject: str, life: timedelta, *, by: Actor) -> Minted:
        """A service account's token, with a row of its own.

        :param subject: the name of the machine principal, such as ``system:deploy-gate``.
        :raises MemqlError: ``INVALID_ARGUMENT`` for a life out of bounds.
        """
        _check_life("service_account", life)
        identity_id = qualify(new_id(), IDENTITY_CONCEPT)
        own = {"cid": identity_id, "node_id": label, "role": "service_account"}
        token, expires = self.minter.mint(TokenClass.SERVICE_ACCOUNT, subject, life, own)
        payload = {
            "userId": "",
            "identityType": "service_account",
            "label": label,
            "credentials": {"accountId": subject, "label": label, "expiresAt": format_instant(expires)},
        }
        event = _identity_event("service_account_token_minted", identity_id, by, {"label": label, "subject": subject})
        await self._insert(IDENTITY_CONCEPT, identity_id, payload, event)
        return Minted(token=token, id=identity_id, expires_at=expires)

    # --- ending -----------------------------------------------------------------------------------------------------

    async def revoke(self, row_id: str, *, by: Actor) -> str:
        """End a credential or a session for good; the full id of its row. Open streams end within seconds.

        :param row_id: the full id of a credential's or a session's row, or a bare id of either.
        :raises MemqlError: ``NOT_FOUND`` when there is no such row.
        """
        candidates = [row_id] if ":" in row_id else [f"{IDENTITY_CONCEPT}:{row_id}", f"{SESSION_CONCEPT}:{row_id}"]
        row = await self._database.fetch_one(
            "SELECT id, concept, payload FROM memory_heads WHERE id = ANY(%s) AND concept = ANY(%s) AND NOT deleted",
            (candidates, [IDENTITY_CONCEPT, SESSION_CONCEPT]),
        )
        if row is None:
            raise MemqlError(Code.NOT_FOUND, f"there is no credential or session {row_id!r}")
        full, concept, payload = str(row[0]), row[1], row[2]
        if concept == SESSION_CONCEPT:
            change: dict[str, Any] = {"revokedAt": format_instant(datetime.now(UTC)), "revokedReason": "admin"}
            event = AuditEvent(
                category="auth", action="session_revoked", actor=by, target_type="session", target_id=full
            )
        else:
            kind = str(payload.get("identityType", ""))
            change = {"active": False}
            event = _identity_event(_REVOKED_ACTIONS.get(kind, f"{kind}_revoked"), full, by, {"identityType": kind})
        await self._update(concept, full, change, event)
        return full

    async def longest(self) -> datetime | None:
        """When the last token that is out may expire; None when none is known to be."""
        row = await self._database.fetch_one(_LONGEST)
        people = datetime.now(UTC) + LONGEST_USER_LIFE
        return people if row is None or row[0] is None else max(people, row[0])

    # --- rows -------------------------------------------------------------------------------------------------------

    async def _put(
        self,
        identity_id: str,
        kind: str,
        what: str,
        credentials: Mapping[str, Any],
        event: AuditEvent,
        reactivate: bool,
    ) -> None:
        """Write the row of a machine that has one for good."""

        async def work(ctx: RequestContext) -> None:
            assert ctx.connection is not None
            found = await ctx.connection.execute(
                "SELECT payload -> 'active' FROM memory_heads WHERE id = %s AND NOT deleted FOR UPDATE", (identity_id,)
            )
            row = await found.fetchone()
            if row is not None and row[0] is False and not reactivate:
                raise CredentialRevokedError(what)
            rules = self._writer.rules(IDENTITY_CONCEPT)
            payload = {"active": True, "userId": "", "identityType": kind, "label": what, "credentials": credentials}
            await self._writer.run(
                Intent(kind="insert" if row is None else "update", rules=rules, id=identity_id, payload=payload), ctx
            )
            await append_audit(self._writer, event, ctx)

        await self._writer.transaction(work, _context(event))

    async def _insert(self, concept: str, row_id: str, payload: Mapping[str, Any], event: AuditEvent) -> None:
        async def work(ctx: RequestContext) -> None:
            await self._writer.insert(concept, payload, ctx, id=row_id)
            await append_audit(self._writer, event, ctx)

        await self._writer.transaction(work, _context(event))

    async def _update(self, concept: str, row_id: str, change: Mapping[str, Any], event: AuditEvent) -> None:
        async def work(ctx: RequestContext) -> None:
            rules = self._writer.rules(concept)
            await self._writer.run(Intent(kind="update", rules=rules, id=row_id, payload=change), ctx)
            await append_audit(self._writer, event, ctx)

        await self._writer.transaction(work, _context(event))


def _context(event: AuditEvent) -> RequestContext:
    """Rows are written by the system on behalf of whoever the audit event names."""
    return RequestContext(actor=system("system:identity"), provenance={"kind": "system", "name": event.action})


def _check_life(kind: str, life: timedelta) -> None:
    longest = _LIMITS[kind]
    if not timedelta(seconds=1) <= life <= longest:
        hours = longest.total_seconds() / 3600
        raise MemqlError(Code.INVALID_ARGUMENT, f"a token of class {kind} lives between 1 second and {hours:g} hours")


def _user_claims(person: Mapping[str, Any], session_id: str) -> dict[str, Any]:
    return {
        "sid": session_id,
        "email": person.get("primaryEmail", ""),
        "name": person.get("displayName", ""),
        "given_name": person.get("firstName", ""),
        "family_name": person.get("lastName", ""),
        "role": person.get("role", "reader"),
        "internal": bool(person.get("internal")),
        "revocation_epoch": int(person.get("revocationEpoch") or 0),
    }


def _identity_event(
    action: str, identity_id: str, by: Actor, detail: Mapping[str, Any], *, email: str = "", address: str = ""
) -> AuditEvent:
    return AuditEvent(
        category="identity",
        action=action,
        actor=by,
        target_type="identity",
        target_id=identity_id,
        target_email=email,
        detail=detail,
        source_ip=address,
    )
