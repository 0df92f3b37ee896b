"""What is shared while one SQL statement is written: parameters, aliases, and the point in time it reads at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memql.engine.read.params import Params, as_moment, quoted
from memql.engine.read.slots import Tag
from memql.graph import sources
from memql.graph.store import Store
from memql.lang.catalog import Catalog

__all__ = ["Row", "Versions", "Writing"]


@dataclass(frozen=True, slots=True)
class Versions:
    """Which versions a statement reads.

    ``moment`` is the slot of the instant of an as-of read; ``since`` and ``until`` bound a history.
    """

    mode: Literal["latest", "asOf", "history"] = "latest"
    deleted: bool = False
    moment: int | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row in a statement: its alias and the concepts it can be of."""

    alias: str
    concepts: frozenset[str]

    def column(self, name: str) -> str:
        """A column by its SQL name."""
        return f"{self.alias}.{name}"


class Writing:
    """One statement being written for one combination of slot tags."""

    def __init__(self, catalog: Catalog, tags: Sequence[Tag], versions: Versions) -> None:
        self.catalog = catalog
        self.tags = tags
        self.versions = versions
        self.params = Params()
        self._related = Versions("asOf", moment=versions.moment) if versions.mode == "asOf" else Versions()
        self._aliases = 0

    def alias(self) -> str:
        """A fresh alias."""
        self._aliases += 1
        return f"t{self._aliases}"

    def source(self, row: Row, id_condition: str = "", *, root: bool = False) -> tuple[str, list[str]]:
        """The FROM item of a row, and the conditions that go with it.

        :param root: whether these are the rows asked for. Only they can be deleted ones or earlier versions; what
            they are related to is live: now, or at the moment of an as-of read.
        :param id_condition: a condition on ``h.id`` that holds for every row wanted, to narrow as-of and history
            reads before versions are chosen.
        """
        store = self.store(row.concepts)
        concept = self.concept_condition(row.alias, row.concepts)
        versions = self.versions if root else self._related
        live = [] if versions.deleted or versions.mode == "history" else [f"NOT {row.alias}.deleted"]
        if versions.mode == "latest":
            return sources.latest(row.alias, store=store), [concept, *live]
        scope = self.concept_condition("h", row.concepts)
        if id_condition:
            scope = f"{scope} AND {id_condition}"
        if versions.mode == "asOf":
            assert versions.moment is not None
            moment = self.params.add(versions.moment, as_moment, "timestamptz")
            return sources.as_of(row.alias, scope, moment, store=store), live
        bounds = [
            f"{row.alias}.created_at {operator} {self.params.add(slot, as_moment, 'timestamptz')}"
            for operator, slot in ((">=", versions.since), ("<=", versions.until))
            if slot is not None
        ]
        return sources.history(row.alias, scope, store=store), bounds

    def store(self, concepts: frozenset[str]) -> Store:
        """Which pair of tables the concepts live in; a selection never mixes them."""
        secret = any(self.catalog.concepts[key].secret_store for key in concepts)
        return Store.SECRET if secret else Store.MEMORY

    @staticmethod
    def concept_condition(alias: str, concepts: frozenset[str]) -> str:
        """The row is of one of the concepts; written as literals, so that partial indexes apply."""
        if len(concepts) == 1:
            return f"{alias}.concept = {quoted(next(iter(concepts)))}"
        listed = ", ".join(quoted(key) for key in sorted(concepts))
        return f"{alias}.concept IN ({listed})"
