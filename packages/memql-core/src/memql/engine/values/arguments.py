"""Arguments of callables, checked before anything runs (spec "Construct rules", Args)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeAlias

from memql.engine.values.schema import SchemaValidator, Violation, violations_json
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import ArgSpec

__all__ = ["ArgumentBinder", "bind_args"]

_Coerce: TypeAlias = Callable[[Any], Any]


class ArgumentBinder:
    """Binds the arguments of one callable; compiled once, then a validation and a few dict operations per
    call.

    :param name: what messages call the callable.
    """

    __slots__ = ("_coercions", "_defaults", "_name", "_names", "_needed", "_validator")

    def __init__(self, name: str, specs: Sequence[ArgSpec], *, open_ended: bool = False) -> None:
        self._name = name
        self._names = tuple(spec.name for spec in specs)
        self._defaults = tuple((spec.name, spec.default) for spec in specs if spec.has_default)
        self._coercions = tuple((spec.name, coerce) for spec in specs if (coerce := _integral(spec.type)) is not None)
        self._needed = [spec.name for spec in specs if _must_be_given(spec)]
        self._validator = SchemaValidator(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {spec.name: dict(spec.json_schema) for spec in specs},
                "required": self._needed,
                "additionalProperties": open_ended,
            }
        )

    def bind(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments without nulls, with defaults, and with integral floats of ``int`` arguments as
        integers.

        :raises MemqlError: ``INVALID_ARGUMENT`` with ``details.violations`` for an unknown or missing
            argument, a wrong type, a value outside an enum or bound.
        """
        bound = {name: value for name, value in args.items() if value is not None}
        if (bound or self._needed) and not self._validator.is_valid(bound):
            raise self._refusal(bound)
        for name, coerce in self._coercions:
            if name in bound:
                bound[name] = coerce(bound[name])
        for name, default in self._defaults:
            if name not in bound:
                bound[name] = default
        return bound

    def _refusal(self, bound: Mapping[str, Any]) -> MemqlError:
        violations = [self._worded(violation) for violation in self._validator.violations(bound)]
        suggestion: dict[str, Any] = {}
        for violation in violations:
            if violation.rule == "unknown":
                near = get_close_matches(violation.path, self._names, 1)
                if near:
                    suggestion = {"didYouMean": near[0]}
        return MemqlError(
            Code.INVALID_ARGUMENT,
            f"{self._name}: {'; '.join(violation.message for violation in violations)}",
            details=violations_json(violations),
            suggestion=suggestion,
            context=self._name,
        )

    def _worded(self, violation: Violation) -> Violation:
        if violation.rule == "additionalProperties" and "." not in violation.path:
            known = ", ".join(self._names) or "none"
            return Violation(violation.path, "unknown", f"there is no argument {violation.path}; it takes {known}")
        return violation


class _Specs:
    """Argument specs hashed by identity, as they hold unhashable members; keeps them alive while cached."""

    __slots__ = ("specs",)

    def __init__(self, specs: tuple[ArgSpec, ...]) -> None:
        self.specs = specs

    def __hash__(self) -> int:
        return id(self.specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Specs) and other.specs is self.specs


def _must_be_given(spec: ArgSpec) -> bool:
    return spec.required and not (spec.has_default or spec.auto_injected)


@lru_cache(maxsize=2048)
def _binder(name: str, key: _Specs) -> ArgumentBinder:
    return ArgumentBinder(name, key.specs)


def bind_args(specs: tuple[ArgSpec, ...], args: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Bind ``args`` to the ``specs`` of the callable ``name``; the compiled binder is cached per specs
    object.

    :raises MemqlError: as :meth:`ArgumentBinder.bind`.
    """
    return _binder(name, _Specs(specs)).bind(args)


def _integral(type_: ast.TypeExpr) -> _Coerce | None:
    """How integral floats of a type become integers; None when the type holds no ``int``."""
    match type_:
        case ast.ScalarType(name="int" | "integer"):
            return _to_int
        case ast.ListType(item=item):
            return _each(_integral(item))
        case ast.MapType(value=value):
            return _each(_integral(value))
        case _:
            return None


def _each(coerce: _Coerce | None) -> _Coerce | None:
    """``coerce`` for every element of a list or value of a map."""
    if coerce is None:
        return None
    each = coerce

    def run(values: Any) -> Any:
        if isinstance(values, list):
            return [each(value) for value in values]
        return {name: each(value) for name, value in values.items()}

    return run


def _to_int(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value
