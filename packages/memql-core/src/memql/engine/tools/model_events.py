"""What the bus is told of completions: who asked whom, how long it took and what it cost, never what was said (spec
"Subscriptions and events")."""

from __future__ import annotations

from typing import Any, Final, Literal

from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import si_id
from memql.engine.tools.model_ports import CallRecord
from memql.errors import MemqlError
from memql.events.event import Event
from memql.events.kinds import kind_for_topic
from memql.ids import new_id

__all__ = ["completion_event"]

_MEMBERS: Final = {
    "request_id": "requestId",
    "modality": "modality",
    "provider": "provider",
    "type": "providerType",
    "model": "model",
    "policy": "policy",
    "prompt": "prompt",
    "key_source": "keySource",
}


def completion_event(
    stage: Literal["started", "finished", "error"],
    record: CallRecord,
    ctx: RequestContext,
    *,
    degraded: str = "",
    error: MemqlError | None = None,
) -> Event:
    """``si.completion.<stage>``; empty members are left out."""
    members = {key: getattr(record, name) for name, key in _MEMBERS.items()}
    members |= {"userId": ctx.actor.user_id, "actor": ctx.actor.created_by, "degraded": degraded}
    payload: dict[str, Any] = {key: value for key, value in members.items() if value}
    if stage != "started":
        payload |= _outcome(record, error)
    topic = f"si.completion.{stage}"
    return Event(
        id=new_id(),
        topic=topic,
        kind=kind_for_topic(topic).name,
        body=payload,
        actor=ctx.actor.created_by,
        cause=ctx.cause,
    )


def _outcome(record: CallRecord, error: MemqlError | None) -> dict[str, Any]:
    out: dict[str, Any] = {"outcome": record.outcome, "durationMs": record.duration_ms}
    if record.first_token_ms is not None:
        out["firstTokenMs"] = record.first_token_ms
    if record.usage is not None:
        out |= {
            "inputTokens": record.usage.input_tokens,
            "outputTokens": record.usage.output_tokens,
            "cachedInputTokens": record.usage.cached_input_tokens,
        }
    if error is not None:
        # The message may quote the request; the ids do not.
        out |= {"code": error.code.value, "error": si_id(error) or error.code.value}
    return out
