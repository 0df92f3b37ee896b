"""Named mutations, compiled: arguments in, an intent out (spec "Construct rules", Mutation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from memql.engine.context import RequestContext
from memql.engine.ports import Reader
from memql.engine.values import Compiled, Env, ValueTables, compile_expr, parse_instant
from memql.engine.write.conditions import Condition, compile_condition, row_of
from memql.engine.write.intents import Intent
from memql.engine.write.payloads import PayloadRules
from memql.errors import Code, MemqlError
from memql.graph.log import Head
from memql.lang import ast
from memql.lang.catalog import Catalog, Mutation

__all__ = ["MutationPlan", "compile_mutation"]

_ROW_KEYS: Final = frozenset({"id", "createdAt", "createdBy", "reason"})


@dataclass(frozen=True, slots=True)
class _Entry:
    """One ``key: value``; an entry that is an argument alone leaves when the argument is omitted."""

    key: str
    value: Compiled
    omissible: bool


@dataclass(frozen=True, slots=True)
class MutationPlan:
    """A mutation ready to run."""

    mutation: Mutation
    rules: PayloadRules
    entries: tuple[_Entry, ...]
    row_values: Mapping[str, Compiled]
    """The entries about the row itself: ``id``, ``createdAt``, and ``reason`` of a delete."""
    splice: Compiled | None
    condition: Condition | None
    needs_tables: bool
    provenance: Mapping[str, Any]
    """What is recorded when a client calls the mutation."""

    def intent(
        self, args: Mapping[str, Any], ctx: RequestContext, tables: ValueTables | None, reader: Reader
    ) -> Intent:
        """Evaluate the block.

        :param args: bound arguments.
        :raises MemqlError: ``FORBIDDEN`` when a term of the filter on the actor does not hold, or a row owned by the
            caller would have no owner; what the expressions raise.
        """
        mutation, kind = self.mutation, self.mutation.write.kind
        env = Env.of(ctx, args, tables=tables)
        if self.condition is not None:
            self.condition.check_gates(mutation.name, env)
        if kind == "insert" and mutation.access == "owned":
            _require_user(mutation, ctx)
        reason = self._row_value("reason", env)
        return Intent(
            kind=kind,
            rules=self.rules,
            id=_id_text(self.rules, self._row_value("id", env)),
            payload=self._payload(env) if kind != "delete" else {},
            deep=mutation.merge_fields,
            reason=reason if reason is None else str(reason),
            created_at=self._created_at(env, ctx),
            provenance=self.provenance if ctx.provenance.get("kind") == "direct" else None,
            test=self._test(args, reader, tables),
            idempotent=mutation.idempotent,
        )

    def _row_value(self, key: str, env: Env) -> Any:
        compiled = self.row_values.get(key)
        return None if compiled is None else compiled.evaluate(env)

    def _payload(self, env: Env) -> dict[str, Any]:
        payload: dict[str, Any] = {}
        if self.splice is not None:
            spliced = self.splice.evaluate(env)
            if spliced is not None and not isinstance(spliced, Mapping):
                raise MemqlError(Code.INVALID_ARGUMENT, f"{self.mutation.name}: args.payload must be an object")
            payload.update(spliced or {})
            self.rules.refuse_intrinsics(payload)
        for entry in self.entries:
            value = entry.value.evaluate(env)
            if value is not None or not entry.omissible:
                payload[entry.key] = value
        return payload

    def _created_at(self, env: Env, ctx: RequestContext) -> datetime | None:
        """Only the system dates its rows itself."""
        if not ctx.actor.is_system:
            return None
        value = self._row_value("createdAt", env)
        if value is None:
            return None
        moment = parse_instant(value) if isinstance(value, str) else None
        if moment is None:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self.mutation.name}: createdAt is {value!r}, no date-time")
        return moment

    def _test(self, args: Mapping[str, Any], reader: Reader, tables: ValueTables | None) -> Any:
        condition = self.condition
        if condition is None or not condition.tests_row:
            return None

        async def test(head: Head, ctx: RequestContext) -> bool:
            return await condition.holds(row_of(head), args, ctx, reader, tables)

        return test


def compile_mutation(mutation: Mutation, catalog: Catalog, rules: PayloadRules) -> MutationPlan:
    """Compile the write block and the filter of a mutation."""
    entries: list[_Entry] = []
    row_values: dict[str, Compiled] = {}
    splice: Compiled | None = None
    for entry in mutation.write.entries:
        compiled = compile_expr(entry.value, mutation.scope, catalog, mode="write")
        if entry.key in _ROW_KEYS and _is_about_row(entry, mutation):
            row_values[entry.key] = compiled
        elif entry.shorthand and entry.key == "payload":
            splice = compiled
        else:
            entries.append(_Entry(entry.key, compiled, _is_argument(entry.value)))
    condition = compile_condition(mutation, catalog)
    parts = [*(entry.value for entry in entries), *row_values.values(), *([splice] if splice else [])]
    needs_tables = any(part.needs_tables for part in parts) or (condition is not None and condition.needs_tables)
    provenance = {"kind": "mutation", "name": mutation.name}
    return MutationPlan(mutation, rules, tuple(entries), row_values, splice, condition, needs_tables, provenance)


def _is_about_row(entry: ast.WriteEntry, mutation: Mutation) -> bool:
    """``reason`` belongs to the row only in a delete; elsewhere it is a field like any other."""
    return entry.key != "reason" or mutation.write.kind == "delete"


def _is_argument(expr: ast.Expr) -> bool:
    path = ast.path_of(expr)
    return path is not None and path[0] == "args"


def _id_text(rules: PayloadRules, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise MemqlError(
        Code.VALIDATION_FAILED,
        f"{rules.concept.key}: an id is text, got {value!r}",
        details={"violations": [{"path": "id", "rule": "id", "message": "an id is text"}]},
    )


def _require_user(mutation: Mutation, ctx: RequestContext) -> None:
    """A row stamped with ``actor.userId`` needs a user, except from those whom row rules do not bind."""
    if not ctx.actor.user_id and not ctx.actor.bypasses_row_rules:
        raise MemqlError(
            Code.FORBIDDEN,
            f"{mutation.name} writes a row that belongs to its caller; sign in as a user",
            details={"function": mutation.name},
        )
