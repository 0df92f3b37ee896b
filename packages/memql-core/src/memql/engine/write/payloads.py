"""What a payload must go through before it is stored: nulls, defaults, references, validation (spec "Write
pipeline", steps 3 to 5).

:class:`PayloadRules` is compiled once per concept and catalog; everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

from memql.engine.context import RequestContext
from memql.engine.values import equal
from memql.engine.values.schema import SchemaValidator, Violation, violations_json
from memql.engine.write.conditions import RowRuleGuard
from memql.errors import Code, MemqlError
from memql.events.masking import ConceptMask
from memql.graph.store import Store
from memql.ids import SHORT_ID
from memql.lang import ast
from memql.lang.catalog import Concept, Field
from memql.lang.schemas import schema_hash, tombstone_schema

__all__ = ["INTRINSICS", "PayloadRules", "deep_merge", "refusal", "without_nulls"]

INTRINSICS: Final = frozenset(
    {
        "id", "concept", "type", "createdAt", "createdBy", "partition", "payload", "schema", "provenance",
        "metadata",
    }
)  # fmt: skip
"""Members of the row itself; no payload may carry them."""


def without_nulls(value: Any) -> Any:
    """A value without null members, at any depth; list elements stay."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def deep_merge(base: Any, change: Any) -> Any:
    """``change`` laid over ``base``: objects member by member, a null removes, anything else replaces."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return without_nulls(change)
    merged = dict(base)
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = deep_merge(merged.get(name), value)
    return merged


def refusal(concept: str, violations: Sequence[Violation]) -> MemqlError:
    """The error for a payload: only absences, only wrong types, or anything else (spec "Error codes")."""
    rules = {violation.rule for violation in violations}
    if rules == {"required"}:
        code = Code.MISSING_REQUIRED_FIELDS
    elif rules == {"type"}:
        code = Code.INVALID_FIELD_TYPE
    else:
        code = Code.VALIDATION_FAILED
    return MemqlError(
        code,
        f"{concept}: {'; '.join(violation.message for violation in violations)}",
        details=violations_json(violations),
        context=concept,
    )


class PayloadRules:
    """The compiled rules of one concept."""

    def __init__(self, concept: Concept) -> None:
        self.concept = concept
        self.guard = RowRuleGuard(concept)
        self.store = Store.SECRET if concept.secret_store else Store.MEMORY
        self._live = SchemaValidator(concept.json_schema)
        tombstone = tombstone_schema(concept.schema_id)
        self._tombstone = SchemaValidator(tombstone)
        self.schema = {"$id": concept.schema_id, "version": concept.version, "hash": concept.schema_hash}
        self.tombstone_schema = {
            "$id": tombstone["$id"],
            "version": concept.version,
            "hash": schema_hash(tombstone),
        }
        self.immutable = tuple(_paths_where(concept.fields, "immutable"))
        self.guarded = tuple(_paths_where(concept.fields, "guarded"))
        self.mask = ConceptMask(concept)
        self.names = tuple(field.name for field in concept.fields)
        self.required = tuple(field.name for field in concept.fields if field.required)
        self._has_defaults = any(map(_has_default_within, concept.fields))
        self._integers = tuple(field.name for field in concept.fields if _is_int(field))
        self._references = tuple(
            (relationship.field, relationship.target)
            for relationship in concept.relationships
            if relationship.direction != "incoming" and relationship.field != "createdBy"
        )

    # --- steps 3 and 4 ----------------------------------------------------------------------------------------------

    def complete(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The payload of an insert: nulls dropped, defaults applied, references qualified. The input is not changed.

        :raises MemqlError: ``VALIDATION_FAILED`` for an intrinsic among the keys or another concept's id in a
            reference.
        """
        self.refuse_intrinsics(payload)
        cleaned: dict[str, Any] = without_nulls(dict(payload))
        if self._has_defaults:
            _apply_defaults(self.concept.fields, cleaned)
        return self._canonical(cleaned)

    def merge(self, before: Mapping[str, Any], change: Mapping[str, Any], deep: Sequence[str] = ()) -> dict[str, Any]:
        """The payload of an update: top-level keys replaced, fields in ``deep`` merged, nulls removing their key.

        :raises MemqlError: as :meth:`complete`.
        """
        self.refuse_intrinsics(change)
        merged = dict(before)
        for name, value in change.items():
            if value is None:
                merged.pop(name, None)
            elif name in deep:
                merged[name] = deep_merge(merged.get(name), value)
            else:
                merged[name] = without_nulls(value)
        return self._canonical(merged)

    def refuse_intrinsics(self, payload: Mapping[str, Any]) -> None:
        """Check that no key names a member of the row itself.

        :raises MemqlError: ``VALIDATION_FAILED`` naming every such key.
        """
        if INTRINSICS.isdisjoint(payload):
            return
        violations = [
            Violation(name, "intrinsic", f"{name} is set by the system and cannot be part of a payload")
            for name in payload
            if name in INTRINSICS
        ]
        raise refusal(self.concept.key, violations)

    def _canonical(self, payload: dict[str, Any]) -> dict[str, Any]:
        for name in self._integers:
            value = payload.get(name)
            if type(value) is float and value.is_integer():
                payload[name] = int(value)
        violations: list[Violation] = []
        for name, target in self._references:
            value = payload.get(name)
            if isinstance(value, str):
                payload[name] = _reference(value, target, name, violations)
            elif isinstance(value, list):
                payload[name] = [
                    _reference(item, target, f"{name}.{index}", violations) for index, item in enumerate(value)
                ]
        if violations:
            raise refusal(self.concept.key, violations)
        return payload

    # --- step 5 -----------------------------------------------------------------------------------------------------

    def check(self, payload: Mapping[str, Any]) -> None:
        """Validate a live payload.

        :raises MemqlError: ``MISSING_REQUIRED_FIELDS``, ``INVALID_FIELD_TYPE`` or ``VALIDATION_FAILED`` with
            ``details.violations``.
        """
        if not self._live.is_valid(payload):
            raise refusal(self.concept.key, self.violations(payload))

    def violations(self, payload: Mapping[str, Any]) -> list[Violation]:
        """Everything the schema has against a payload; what stands in a ``@secret`` field is not repeated."""
        found = self._live.violations(payload)
        hidden = tuple(".".join(path) + "." for path in self.mask.paths)
        return [
            replace(violation, message=f"{violation.path} breaks its rule {violation.rule}")
            if f"{violation.path}.".startswith(hidden) and violation.rule != "required"
            else violation
            for violation in found
        ]

    def check_tombstone(self, payload: Mapping[str, Any]) -> None:
        """Validate the payload of a delete; raises as :meth:`check`."""
        if not self._tombstone.is_valid(payload):
            raise refusal(f"{self.concept.key} (delete)", self._tombstone.violations(payload))

    def check_immutable(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Check that no ``@immutable`` field that was set has changed or gone.

        :raises MemqlError: ``VALIDATION_FAILED`` naming the fields.
        """
        violations = []
        for path in self.immutable:
            old = _at(before, path)
            if old is not None and not equal(old, _at(after, path)):
                name = ".".join(path)
                violations.append(
                    Violation(name, "immutable", f"{name} is immutable: once set it can be neither changed nor removed")
                )
        if violations:
            raise refusal(self.concept.key, violations)

    def is_guarded(self, ctx: RequestContext) -> bool:
        """Whether there are ``@guarded`` fields that bind this caller."""
        return bool(self.guarded) and not ctx.actor.bypasses_row_rules

    def check_guarded(self, before: Mapping[str, Any] | None, after: Mapping[str, Any], ctx: RequestContext) -> None:
        """Check that the caller leaves ``@guarded`` fields as they were, or in a new row as they are by default.

        :raises MemqlError: ``FORBIDDEN`` naming the fields.
        """
        if not self.is_guarded(ctx):
            return
        stood = self.complete({}) if before is None else before
        touched = [".".join(path) for path in self.guarded if not equal(_at(stood, path), _at(after, path))]
        if touched:
            raise MemqlError(
                Code.FORBIDDEN,
                f"{self.concept.key}: only the cluster owner may set or change {', '.join(touched)}",
                details={"fields": touched},
            )


def _at(payload: Any, path: Sequence[str]) -> Any:
    for name in path:
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload


def _is_int(field: Field) -> bool:
    return isinstance(field.type, ast.ScalarType) and field.type.name == "int"


def _paths_where(fields: Sequence[Field], mark: str, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the fields that carry a mark, inside blocks and variants too."""
    for field in fields:
        path = (*prefix, field.name)
        if getattr(field, mark):
            yield path
        elif not isinstance(field.type, ast.ListType):
            yield from _paths_where(field.fields or (), mark, path)
            for branch in field.variants.values():
                yield from _paths_where(branch, mark, path)


def _has_default_within(field: Field) -> bool:
    inner = [*(field.fields or ()), *(member for branch in field.variants.values() for member in branch)]
    return field.has_default or any(map(_has_default_within, inner))


def _apply_defaults(fields: Sequence[Field], payload: dict[str, Any]) -> None:
    """Fill in place; inside a nested block only where the block is present."""
    for field in fields:
        value = payload.get(field.name)
        if value is None:
            if field.has_default and field.default is not None:
                payload[field.name] = deepcopy(field.default)
            continue
        members = field.fields
        if field.discriminator:
            members = field.variants.get(str(payload.get(field.discriminator)))
        if members:
            for block in value if isinstance(value, list) else [value]:
                if isinstance(block, dict):
                    _apply_defaults(members, block)


def _reference(value: Any, target: str, path: str, violations: list[Violation]) -> Any:
    """A reference in full; what is no text is left to the validator."""
    if not isinstance(value, str):
        return value
    prefix = target + ":"
    if SHORT_ID.fullmatch(value.removeprefix(prefix)):
        return value if value.startswith(prefix) else prefix + value
    violations.append(
        Violation(path, "relationship", f"{path} must be an id of {target}, bare or after {prefix!r}, got {value!r}")
    )
    return value
