"""The trail of what happened to accounts, credentials, settings and data (spec "Audit")."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import anyio
from prometheus_client import Counter

from memql.auth import Actor, system
from memql.engine.context import RequestContext
from memql.engine.write import GraphWriter
from memql.errors import MemqlError
from memql.ids import new_id

__all__ = ["AUDIT_EVENT", "AuditEvent", "append_audit", "record_attempt"]

log = logging.getLogger(__name__)

AUDIT_EVENT: Final = "v1:identity:auditEvent"
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.1
_PROVENANCE: Final = {"kind": "system", "name": "audit"}

_failures = Counter("memql_audit_write_failures_total", "Audit events that could not be stored")

Category = Literal["auth", "identity", "authorization", "configuration", "admin", "data"]
Outcome = Literal["success", "failure", "blocked", ""]
TargetType = Literal[
    "user", "session", "identity", "invitation", "accessRequest", "config", "magicLinkRequest", "authCode",
    "clusterSettings", "workerPairingCode", "",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event. ``action`` is lower snake case; ``detail`` must hold no secret."""

    category: Category
    action: str
    actor: Actor
    target_type: TargetType = ""
    target_id: str = ""
    target_email: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    source_ip: str = ""
    user_agent: str = ""
    correlation_id: str = ""
    outcome: Outcome = "success"
    failure_reason: str = ""


async def append_audit(writer: GraphWriter, event: AuditEvent, ctx: RequestContext | None = None) -> None:
    """Append an event; the one way that events get into the trail, and therefore the place where the chain of hashes
    will be extended: here, and nowhere else, the head will be locked and an event linked to the one before.

    :param ctx: the call whose transaction the event commits with, so that there is no change without its event.
    :raises MemqlError: when it cannot be stored.
    """
    base = ctx or RequestContext(actor=event.actor)
    within = replace(base, actor=system("system:audit"), provenance=_PROVENANCE)
    payload = _payload(event, within)
    await writer.insert(AUDIT_EVENT, payload, within, id=new_id())
    log.info("audit %s %s by %s: %s", event.category, event.action, event.actor.created_by, event.outcome)


async def record_attempt(writer: GraphWriter, event: AuditEvent) -> None:
    """Append an event about an attempt that changed nothing. It is tried three times; then the loss is logged as an
    error and counted, because the attempt was answered already or must be."""
    for attempt in range(_ATTEMPTS):
        try:
            await append_audit(writer, event)
        except MemqlError as error:
            failure = error
        else:
            return
        await anyio.sleep(_PAUSE * 2**attempt)
    _failures.inc()
    log.error("the audit event %s of %s is lost: %s", event.action, event.actor.created_by, failure)


def _payload(event: AuditEvent, ctx: RequestContext) -> dict[str, Any]:
    actor = event.actor
    return {
        "occurredAt": ctx.now_text,
        "category": event.category,
        "action": event.action,
        "actorUserId": actor.created_by,
        "actorEmail": actor.primary_email,
        "actorRole": actor.role,
        "actorIdentityId": actor.identity_id,
        "targetType": event.target_type,
        "targetId": event.target_id,
        "targetEmail": event.target_email,
        "detail": dict(event.detail),
        "sourceIP": event.source_ip,
        "userAgent": event.user_agent[:512],
        "correlationId": event.correlation_id,
        "outcome": event.outcome,
        "failureReason": event.failure_reason,
    }
