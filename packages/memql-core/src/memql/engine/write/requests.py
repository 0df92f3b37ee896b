"""Raw writes: ``insert(..)``, ``update(..)``, ``delete(..)`` (spec "Raw query language")."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

from memql.engine.context import RequestContext
from memql.engine.values import Compiled, Env, ValueTables, compile_expr
from memql.engine.write.intents import Intent, WriteKind
from memql.engine.write.payloads import PayloadRules
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Concept, Scope

__all__ = ["RawPlan", "RawPlans", "RawWrite", "known_concept"]

RawWrite: TypeAlias = ast.InsertRequest | ast.UpdateRequest | ast.DeleteRequest

_KINDS: Final[Mapping[type, WriteKind]] = {
    ast.InsertRequest: "insert",
    ast.UpdateRequest: "update",
    ast.DeleteRequest: "delete",
}
_POINTERS: Final = {"parent": "parent", "aliasOf": "alias"}
"""Arguments of an insert that fill the field of a relationship of that type."""
_NOWHERE: Final = Scope()


def known_concept(catalog: Catalog, name: str) -> Concept:
    """The concept of that id.

    :raises MemqlError: ``UNKNOWN_CONCEPT`` with the nearest ids.
    """
    concept = catalog.concepts.get(name)
    if concept is not None:
        return concept
    near = get_close_matches(name, catalog.concepts, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; concepts() lists what there is"
    raise MemqlError(
        Code.UNKNOWN_CONCEPT,
        f"there is no concept {name!r}{hint}",
        suggestion={"didYouMean": near[0]} if near else None,
        context=name,
    )


@dataclass(frozen=True, slots=True)
class RawPlan:
    """A raw write, compiled."""

    kind: WriteKind
    concept: Concept
    values: Mapping[str, Compiled]

    @property
    def needs_tables(self) -> bool:
        """Whether variables must be loaded before it runs."""
        return any(value.needs_tables for value in self.values.values())

    def intent(self, rules: PayloadRules, ctx: RequestContext, tables: ValueTables | None) -> Intent:
        """Evaluate the arguments.

        :raises MemqlError: ``INVALID_ARGUMENT`` for one of the wrong type, ``RELATIONSHIP_NOT_FOUND`` for ``parent`` or
            ``aliasOf`` where the concept has no such relationship.
        """
        env = Env.of(ctx, tables=tables)
        given = {name: value.evaluate(env) for name, value in self.values.items()}
        payload = dict(self._object(given.get("payload")))
        for argument, relationship in _POINTERS.items():
            if given.get(argument) is not None:
                payload[self._pointer(argument, relationship)] = given[argument]
        return Intent(
            kind=self.kind,
            rules=rules,
            id=self._text("id", given.get("id")),
            payload=payload,
            if_version=self._version(given.get("ifVersion")),
            reason=self._text("reason", given.get("reason")),
        )

    def _object(self, value: Any) -> Mapping[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        raise self._wrong("payload", "an object", value)

    def _text(self, name: str, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name, "text", value)

    def _version(self, value: Any) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong("ifVersion", "the version number of a result", value)

    def _wrong(self, name: str, wanted: str, value: Any) -> MemqlError:
        return MemqlError(
            Code.INVALID_ARGUMENT, f"{self.kind} {self.concept.key}: {name} must be {wanted}, got {value!r}"
        )

    def _pointer(self, argument: str, relationship: str) -> str:
        for declared in self.concept.relationships:
            if declared.type == relationship and declared.direction != "incoming":
                return declared.field
        raise MemqlError(
            Code.RELATIONSHIP_NOT_FOUND,
            f"{self.concept.key} declares no {relationship} relationship, so {argument}= has no field to fill",
        )


class RawPlans:
    """Compiled raw writes by their syntax tree, which the parser caches by text; bounded, for one catalog."""

    def __init__(self, catalog: Catalog, capacity: int = 512) -> None:
        self._catalog = catalog
        self._capacity = capacity
        self._plans: OrderedDict[int, tuple[RawWrite, RawPlan]] = OrderedDict()

    def plan(self, request: RawWrite) -> RawPlan:
        """The plan of a request.

        :raises MemqlError: ``UNKNOWN_CONCEPT``; ``INVALID_ARGUMENT`` or ``UNKNOWN_FUNCTION`` for its expressions.
        """
        found = self._plans.get(id(request))
        if found is not None and found[0] is request:
            self._plans.move_to_end(id(request))
            return found[1]
        plan = self._compile(request)
        self._plans[id(request)] = (request, plan)
        if len(self._plans) > self._capacity:
            self._plans.popitem(last=False)
        return plan

    def _compile(self, request: RawWrite) -> RawPlan:
        concept = known_concept(self._catalog, request.concept)
        values: dict[str, Compiled] = {}
        for name, expr in request.named:
            if name in values:
                raise MemqlError(Code.INVALID_ARGUMENT, f"{name}= is given twice", position=expr.span.start)
            values[name] = compile_expr(expr, _NOWHERE, self._catalog, mode="write")
        return RawPlan(_KINDS[type(request)], concept, values)
