"""Secrets in events: a subscriber of any role may see an event, so the values of ``@secret`` fields never travel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, TypeAlias

from memql.lang import ast
from memql.lang.catalog import Catalog, Concept, Field

__all__ = ["MASK", "Mask", "SecretMask"]

MASK: Final = "***"
"""What stands in the place of a secret."""

Mask: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Hides what is secret in the payload of a row of a concept."""


class SecretMask:
    """Masks by the concepts of the tree in force; fits :data:`Mask`."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._paths: dict[str, tuple[Concept, tuple[tuple[str, ...], ...]]] = {}

    def __call__(self, concept: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The payload with secrets hidden; the same object when the concept has none or is not in the tree."""
        found = self._catalog().concepts.get(concept)
        paths = () if found is None else self._secret_paths(found)
        if not paths:
            return payload
        shown = deepcopy(dict(payload))
        for path in paths:
            holder: Any = shown
            for name in path[:-1]:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and path[-1] in holder:
                holder[path[-1]] = MASK
        return shown

    def _secret_paths(self, concept: Concept) -> tuple[tuple[str, ...], ...]:
        known = self._paths.get(concept.key)
        if known is not None and known[0] is concept:
            return known[1]
        paths = tuple(_paths(concept.fields, ()))
        self._paths[concept.key] = (concept, paths)
        return paths


def _paths(fields: Sequence[Field], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for field in fields:
        path = (*prefix, field.name)
        if field.secret:
            yield path
        elif not isinstance(field.type, ast.ListType):
            yield from _paths(field.fields or (), path)
            for branch in field.variants.values():
                yield from _paths(branch, path)
