"""What evaluations of decision policies leave behind: the rows of ``@audited`` and of ``@traces_persisted``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import msgspec

from memql.auth import system
from memql.engine.context import RequestContext
from memql.engine.write.audit import audit_row
from memql.errors import MemqlError
from memql.events.masking import MASK, Mask
from memql.ids import derived_id, new_id
from memql.lang.catalog import Policy

__all__ = ["TRACE_CONCEPT", "Evaluation", "PolicyRecords"]

TRACE_CONCEPT: Final = "v1:platform:policyTrace"

_LARGEST = 256 * 1024
"""Bytes of a trace; of a larger one the results of the calls are left out."""
_SHORTEST_PART = 4
"""A secret of fewer characters is hidden only where it is a whole value."""


class Evaluation(Protocol):
    """How a policy came to its value, as far as it came."""

    args: Mapping[str, Any]
    calls: list[dict[str, Any]]
    value: Any

    def shown_bindings(self) -> dict[str, Any]:
        """The names of its body and their values."""
        ...


class CreateRow(Protocol):
    """Writes a row as the engine itself, unless its id exists."""

    async def __call__(self, concept: str, payload: Mapping[str, Any], ctx: RequestContext, *, id: str) -> bool:
        """Whether it was written."""
        ...


class PolicyRecords:
    """Writes the rows. In a durable run their ids follow from the place of the call, so that a repetition adds none.

    :param mask: hides what is secret in rows that stand in a trace.
    """

    def __init__(self, create: CreateRow, mask: Mask) -> None:
        self._create = create
        self._mask = mask

    async def audit(self, policy: Policy, error: MemqlError | None, ctx: RequestContext) -> None:
        """One row about who asked, and whether there was an answer."""
        concept, payload, own = audit_row("policy", policy.name, None, error, ctx)
        await self._create(concept, payload, own, id=_id("audit", ctx))

    async def trace(self, policy: Policy, found: Evaluation, error: MemqlError | None, ctx: RequestContext) -> None:
        """One row about how the policy came to its value, without secrets."""
        trace = {"bindings": found.shown_bindings(), "calls": found.calls}
        if error is not None:
            trace["error"] = {"code": error.code.value, "message": error.message}
        shown = _without_secrets({"args": dict(found.args), "result": found.value, "trace": trace}, self._mask)
        if len(msgspec.json.encode(shown)) > _LARGEST:
            _leave_results_out(shown)
        payload = {"policy": policy.name, "actor": ctx.actor.created_by, "occurredAt": ctx.now_text, **shown}
        provenance = {"kind": "system", "name": "policyTrace"}
        own = replace(ctx, actor=system("system:policyTrace"), provenance=provenance)
        await self._create(TRACE_CONCEPT, payload, own, id=_id("trace", ctx))


def _id(kind: str, ctx: RequestContext) -> str:
    return new_id() if ctx.ids is None else derived_id(kind, *ctx.ids.path)


def _leave_results_out(shown: dict[str, Any]) -> None:
    trace = shown["trace"]
    trace["calls"] = [{**call, "result": "left out: too large"} for call in trace["calls"]]
    if len(msgspec.json.encode(shown)) > _LARGEST:
        shown["trace"] = {"leftOut": "too large"}
        shown["args"], shown["result"] = {}, None


def _without_secrets(value: Any, mask: Mask) -> Any:
    """A value with secret fields of rows masked, and the same texts wherever else they stand."""
    secrets: set[str] = set()
    masked = _with_rows_masked(value, mask, secrets)
    return _with_texts(masked, lambda text: _hidden(text, secrets))


def _with_rows_masked(value: Any, mask: Mask, secrets: set[str]) -> Any:
    if isinstance(value, list):
        return [_with_rows_masked(item, mask, secrets) for item in value]
    if not isinstance(value, Mapping):
        return value
    concept, payload = value.get("concept"), value.get("payload")
    if isinstance(concept, str) and isinstance(payload, Mapping):
        shown = mask(concept, payload)
        _note_hidden(payload, shown, secrets)
        value = {**value, "payload": shown}
    return {name: _with_rows_masked(member, mask, secrets) for name, member in value.items()}


def _note_hidden(before: Any, after: Any, secrets: set[str]) -> None:
    """The texts that a mask took away."""
    if after == MASK and before != MASK:
        secrets.update(_texts(before))
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name, member in before.items():
            _note_hidden(member, after.get(name), secrets)


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} - {""}
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return set[str]().union(*map(_texts, members))


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_with_texts(item, change) for item in value]
    if isinstance(value, Mapping):
        return {change(name): _with_texts(member, change) for name, member in value.items()}
    return value


def _hidden(text: str, secrets: set[str]) -> str:
    if text in secrets:
        return MASK
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_PART:
            text = text.replace(secret, MASK)
    # What PostgreSQL cannot hold in a text must not cost the decision.
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
