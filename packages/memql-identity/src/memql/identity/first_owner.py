"""The unattended claim of a new cluster: its first owner and its settings, once (spec "First owner")."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

from memql.auth import system
from memql.auth.standing import SETTINGS_ID, USER_CONCEPT
from memql.config import Settings
from memql.engine.audit_trail import AuditEvent, append_audit
from memql.engine.context import RequestContext, format_instant
from memql.engine.write import GraphWriter
from memql.engine.write.intents import Intent
from memql.ids import new_id, qualify

__all__ = ["claim_cluster"]

log = logging.getLogger(__name__)

_SETTINGS_CONCEPT: Final = "v1:identity:clusterSettings"
_LOCK: Final = 7756010113207010700
_REQUIRED: Final[Mapping[str, str]] = {
    "bootstrap_domain": "IDENTITY_BOOTSTRAP_DOMAIN",
    "bootstrap_owner_email": "IDENTITY_BOOTSTRAP_OWNER_EMAIL",
    "bootstrap_owner_first_name": "IDENTITY_BOOTSTRAP_OWNER_FIRST_NAME",
    "bootstrap_owner_last_name": "IDENTITY_BOOTSTRAP_OWNER_LAST_NAME",
    "bootstrap_registration_mode": "IDENTITY_BOOTSTRAP_REGISTRATION_MODE",
}
_SEALED: LiteralString = f"""
SELECT
    (SELECT payload ->> 'bootstrappedAt' FROM memory_heads WHERE id = '{SETTINGS_ID}' AND NOT deleted),
    EXISTS (SELECT FROM memory_heads WHERE concept = '{USER_CONCEPT}' AND NOT deleted
        AND payload ->> 'role' = 'owner' AND payload -> 'active' IS DISTINCT FROM 'false'::jsonb),
    EXISTS (SELECT FROM memory_heads WHERE id = '{SETTINGS_ID}' AND NOT deleted),
    (SELECT id FROM memory_heads WHERE concept = '{USER_CONCEPT}' AND NOT deleted AND payload ->> 'primaryEmail' = %s)
"""
_BY: Final = system("system:cluster-bootstrap")


@dataclass(frozen=True, slots=True)
class _State:
    sealed: bool
    has_settings: bool
    known_user: str | None


async def claim_cluster(settings: Settings, writer: GraphWriter) -> str | None:
    """Give a cluster without owner the one that ``IDENTITY_BOOTSTRAP_*`` names, and its settings. All of it happens in
    one transaction under a lock of the cluster, so that of several replicas one does it. Nothing else makes an owner.

    :returns: the full id of the owner; None when nothing was asked for, or the cluster has been claimed before.
    :raises MemqlError: when a value does not fit the concepts, or the database cannot be used.
    """
    missing = [name for field, name in _REQUIRED.items() if not getattr(settings, field)]
    if missing:
        if len(missing) < len(_REQUIRED):
            log.warning("the cluster is not claimed unattended: %s missing", ", ".join(missing))
        return None

    async def work(ctx: RequestContext) -> str | None:
        state = await _look(ctx, settings.bootstrap_owner_email.lower())
        if state.sealed:
            return None
        owner = await _make_owner(settings, state, writer, ctx)
        await _stamp(settings, state, writer, ctx)
        return owner

    provenance = {"kind": "system", "name": "cluster bootstrap"}
    owner = await writer.transaction(work, RequestContext(actor=_BY, provenance=provenance))
    if owner is not None:
        log.warning("the cluster is claimed: %s is its owner (%s)", settings.bootstrap_owner_email, owner)
    return owner


async def _look(ctx: RequestContext, email: str) -> _State:
    assert ctx.connection is not None
    await ctx.connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    row = await (await ctx.connection.execute(_SEALED, (email,))).fetchone()
    assert row is not None
    stamped, has_owner, has_settings, known_user = row
    return _State(bool(stamped) or has_owner, has_settings, known_user)


async def _make_owner(settings: Settings, state: _State, writer: GraphWriter, ctx: RequestContext) -> str:
    person = _given(
        displayName=f"{settings.bootstrap_owner_first_name} {settings.bootstrap_owner_last_name}",
        firstName=settings.bootstrap_owner_first_name,
        lastName=settings.bootstrap_owner_last_name,
        primaryEmail=settings.bootstrap_owner_email.lower(),
        phone=settings.bootstrap_owner_phone,
        primaryRole=settings.bootstrap_owner_primary_role,
        gender=settings.bootstrap_owner_gender,
        birthdate=settings.bootstrap_owner_birthdate,
    )
    payload = {**person, "active": True, "role": "owner", "internal": True}
    owner = state.known_user or qualify(new_id(), USER_CONCEPT)
    kind = "update" if state.known_user else "insert"
    await _write(writer, USER_CONCEPT, kind, owner, payload, ctx)
    event = AuditEvent(
        category="identity",
        action="role_changed" if state.known_user else "user_registered",
        actor=_BY,
        target_type="user",
        target_id=owner,
        target_email=person["primaryEmail"],
        detail={"role": "owner", "how": "unattended bootstrap"},
    )
    await append_audit(writer, event, ctx)
    return owner


async def _stamp(settings: Settings, state: _State, writer: GraphWriter, ctx: RequestContext) -> None:
    payload = _given(
        clusterDomain=settings.bootstrap_domain,
        registrationMode=settings.bootstrap_registration_mode or "",
        registrationDomains=",".join(settings.bootstrap_registration_domains),
        internalDomains=",".join(settings.bootstrap_internal_domains),
        internalDefaultRole=settings.bootstrap_internal_default_role or "",
        brandName=settings.bootstrap_org_name,
        accessRequestNotifyEmails=",".join(settings.bootstrap_notify_emails),
        bootstrapEmail=settings.bootstrap_owner_email.lower(),
        bootstrapFirstName=settings.bootstrap_owner_first_name,
        bootstrapLastName=settings.bootstrap_owner_last_name,
        bootstrapPhone=settings.bootstrap_owner_phone,
        bootstrapPrimaryRole=settings.bootstrap_owner_primary_role,
        bootstrapGender=settings.bootstrap_owner_gender,
        bootstrapBirthdate=settings.bootstrap_owner_birthdate,
        bootstrappedAt=format_instant(datetime.now(UTC)),
    )
    kind = "update" if state.has_settings else "insert"
    await _write(writer, _SETTINGS_CONCEPT, kind, SETTINGS_ID, payload, ctx)
    event = AuditEvent(
        category="configuration",
        action="settings_changed",
        actor=_BY,
        target_type="clusterSettings",
        target_id=SETTINGS_ID,
        detail={"fields": sorted(payload)},
    )
    await append_audit(writer, event, ctx)


async def _write(
    writer: GraphWriter, concept: str, kind: Any, row_id: str, payload: Mapping[str, Any], ctx: RequestContext
) -> None:
    await writer.run(Intent(kind=kind, rules=writer.rules(concept), id=row_id, payload=payload), ctx)


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
