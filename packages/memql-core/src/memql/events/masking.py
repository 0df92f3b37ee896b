"""What is secret in a row: where ``@secret`` fields stand, and payloads without their values.

A subscriber of any role may see an event, so these values never travel with one; results show them to administrators
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, TypeAlias

from memql.lang import ast
from memql.lang.catalog import Catalog, Concept, Field

__all__ = ["MASK", "ConceptMask", "Mask", "SecretMask", "secret_paths"]

MASK: Final = "***"
"""What stands in the place of a secret."""

Mask: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Hides what is secret in the payload of a row of a concept."""


class ConceptMask:
    """Hides what is secret in payloads of one concept."""

    __slots__ = ("paths",)

    def __init__(self, concept: Concept) -> None:
        self.paths = secret_paths(concept)

    def __call__(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The payload with secrets hidden; the same object when the concept has none."""
        if not self.paths:
            return payload
        shown = deepcopy(dict(payload))
        for path in self.paths:
            holder: Any = shown
            for name in path[:-1]:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and path[-1] in holder:
                holder[path[-1]] = MASK
        return shown


class SecretMask:
    """Masks by the concepts of the tree in force; fits :data:`Mask`."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._masks: dict[str, tuple[Concept, ConceptMask]] = {}

    def __call__(self, concept: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The payload with secrets hidden; the same object when the concept has none or is not in the tree."""
        found = self._catalog().concepts.get(concept)
        return payload if found is None else self._mask_of(found)(payload)

    def hides(self, concept: str) -> bool:
        """Whether anything in rows of a concept is secret."""
        found = self._catalog().concepts.get(concept)
        return found is not None and bool(self._mask_of(found).paths)

    def _mask_of(self, concept: Concept) -> ConceptMask:
        known = self._masks.get(concept.key)
        if known is None or known[0] is not concept:
            known = self._masks[concept.key] = (concept, ConceptMask(concept))
        return known[1]


def secret_paths(concept: Concept) -> tuple[tuple[str, ...], ...]:
    """The paths of ``@secret`` fields, outermost first. What stands inside a secret block is covered by it, and a list
    with secrets in its elements is hidden whole."""
    return tuple(dict.fromkeys(_paths(concept.fields, ())))


def _paths(fields: Sequence[Field], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for field in fields:
        path = (*above, field.name)
        below = tuple(_paths(_members(field), path))
        if field.secret or (below and isinstance(field.type, ast.ListType)):
            yield path
        else:
            yield from below


def _members(field: Field) -> tuple[Field, ...]:
    return (*(field.fields or ()), *(member for branch in field.variants.values() for member in branch))
