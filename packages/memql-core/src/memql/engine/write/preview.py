"""What a write would do, told without writing: ``validate``, ``contentId``, ``previewInsert`` (spec "Raw query
language", introspection)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memql.engine.context import RequestContext
from memql.engine.write.payloads import PayloadRules
from memql.engine.write.writer import GraphWriter
from memql.errors import MemqlError
from memql.graph import log
from memql.graph.database import Database
from memql.ids import content_id

__all__ = ["Preview"]


class Preview:
    """Implements :class:`memql.engine.introspection.WritePreview`."""

    def __init__(self, writer: GraphWriter, database: Database) -> None:
        self._writer = writer
        self._database = database

    def validate(self, concept: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """``{valid, errors, required, provided, schema}`` for the payload of an insert.

        :raises MemqlError: ``UNKNOWN_CONCEPT``.
        """
        rules = self._writer.rules(concept)
        _, errors = _prepared(rules, payload)
        return {
            "valid": not errors,
            "errors": errors,
            "required": list(rules.required),
            "provided": [name for name, value in payload.items() if value is not None],
            "schema": dict(rules.concept.json_schema),
        }

    def content_id(self, concept: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """``{valid, id}``: the full id an insert without one would get; no id for an invalid payload.

        :raises MemqlError: ``UNKNOWN_CONCEPT``.
        """
        rules = self._writer.rules(concept)
        prepared, errors = _prepared(rules, payload)
        return {"valid": not errors, "id": None if errors else self._id(rules, prepared)}

    async def preview_insert(self, concept: str, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{valid, id, exists, warnings}``; ``warnings`` say what would go wrong or be replaced.

        :raises MemqlError: ``UNKNOWN_CONCEPT``.
        """
        rules = self._writer.rules(concept)
        prepared, errors = _prepared(rules, payload)
        warnings = [error["message"] for error in errors]
        if errors:
            return {"valid": False, "id": None, "exists": False, "warnings": warnings}
        node_id = self._id(rules, prepared)
        try:
            rules.guard.check_caller(ctx)
            rules.guard.check_new(node_id, prepared, ctx)
        except MemqlError as error:
            return {"valid": False, "id": node_id, "exists": False, "warnings": [error.message]}
        head = await log.head(ctx.connection or self._database, node_id, store=rules.store)
        if head is not None:
            fate = "was deleted and would be revived" if head.deleted else "exists; this would be its next version"
            warnings.append(f"{node_id} {fate}")
        return {"valid": True, "id": node_id, "exists": head is not None and not head.deleted, "warnings": warnings}

    def _id(self, rules: PayloadRules, payload: Mapping[str, Any]) -> str:
        key = rules.concept.key
        return f"{key}:{content_id(key, payload, self._writer.salt)}"


def _prepared(rules: PayloadRules, payload: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The payload as it would be stored, and what is wrong with it."""
    try:
        prepared = rules.complete(payload)
    except MemqlError as error:
        return dict(payload), list(error.details.get("violations", ()))
    return prepared, [violation.to_json() for violation in rules.violations(prepared)]
