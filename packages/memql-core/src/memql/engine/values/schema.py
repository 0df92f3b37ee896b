"""JSON Schema validation with messages for people: payloads and arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import jsonschema_rs
import msgspec

from memql.engine.values.operators import type_name

__all__ = ["SchemaValidator", "Violation", "violations_json"]

_TYPES: Final = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong: where (dotted path, empty for the whole), which rule, and what to do about it."""

    path: str
    rule: str
    message: str

    def to_json(self) -> dict[str, str]:
        """The element of ``details.violations``."""
        return {"path": self.path, "rule": self.rule, "message": self.message}


def violations_json(violations: Sequence[Violation]) -> dict[str, Any]:
    """The details of an error about violations."""
    return {"violations": [violation.to_json() for violation in violations]}


class SchemaValidator:
    """A compiled closed-object schema; formats are asserted. Safe to share between threads."""

    __slots__ = ("_validator", "is_valid")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True)
        self.is_valid = self._validator.is_valid

    def violations(self, instance: Any) -> list[Violation]:
        """Everything wrong with a value, in the order of the schema; empty when it is valid."""
        found: dict[tuple[str, str], Violation] = {}
        for error in self._validator.iter_errors(instance):
            for violation in _explain(error):
                found.setdefault((violation.path, violation.rule), violation)
        listed = list(found.values())
        specific = [violation for violation in listed if violation.rule not in ("oneOf", "anyOf")]
        return specific or listed


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _join(path: Sequence[str | int], name: str = "") -> str:
    return ".".join([*map(str, path), *([name] if name else [])])


def _explain(error: jsonschema_rs.ValidationError) -> Iterator[Violation]:
    kind, path = error.kind, error.instance_path
    rule = kind.name
    where = _join(path)
    label = where or "the value"
    facts: dict[str, Any] = kind.as_dict()
    if rule == "required":
        name = facts["property"]
        yield Violation(_join(path, name), rule, f"{_join(path, name)} is required and was not given")
    elif rule == "additionalProperties":
        for name in facts["unexpected"]:
            yield Violation(_join(path, name), rule, f"{_join(path, name)} is not declared")
    elif rule == "oneOf":
        yield from _variant(error, kind, where)
    elif rule == "enum" and _wrong_type_for(facts["options"], error.instance):
        yield Violation(where, "type", f"{label} must be text, got {_shown(error.instance)}")
    else:
        yield Violation(where, rule, f"{label} {_sentence(rule, facts, error)}")


def _wrong_type_for(options: Any, instance: Any) -> bool:
    if isinstance(options, str):
        options = msgspec.json.decode(options)
    return not isinstance(instance, str) and all(isinstance(option, str) for option in options)


def _variant(error: jsonschema_rs.ValidationError, kind: Any, where: str) -> Iterator[Violation]:
    """The complaints of the branch that the discriminator names."""
    for branch in getattr(kind, "context", ()):
        if not any(inner.kind.name == "const" for inner in branch):
            for inner in branch:
                yield from _explain(inner)
            return
    yield Violation(where, "oneOf", f"{where or 'the value'} fits none of the variants declared for it")


def _sentence(rule: str, facts: Mapping[str, Any], error: jsonschema_rs.ValidationError) -> str:
    got = _shown(error.instance)
    match rule:
        case "type":
            wanted = " or ".join(_TYPES.get(name, name) for name in facts["types"])
            return f"must be {wanted}, got {type_name(error.instance)} {got}"
        case "enum":
            options = facts["options"]
            if isinstance(options, str):
                options = msgspec.json.decode(options)
            near = get_close_matches(str(error.instance), [str(option) for option in options], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"must be one of {', '.join(map(_shown, options))}, got {got}{hint}"
        case "minimum":
            return f"must be at least {facts['limit']}, got {got}"
        case "maximum":
            return f"must be at most {facts['limit']}, got {got}"
        case "minLength":
            return f"must have at least {facts['limit']} characters, got {len(str(error.instance))}"
        case "maxLength":
            return f"must have at most {facts['limit']} characters, got {len(str(error.instance))}"
        case "pattern":
            return f"must match the pattern {facts['pattern']}, got {got}"
        case "format" if facts["format"] == "date-time":
            return f"must be an RFC 3339 date-time such as 2026-03-05T00:00:00Z, got {got}"
        case _:
            return f"is refused: {error.message}"
