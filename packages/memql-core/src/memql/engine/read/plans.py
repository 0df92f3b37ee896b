"""Plans: a read prepared once, run many times without parsing anything.

A plan holds the slots to evaluate and what was resolved; its SQL exists in variants, one for each combination of slot
tags that occurred.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from memql.engine.read.answers import ModelCalls
from memql.engine.read.params import Convert, bind
from memql.engine.read.slots import Slot, Tag, evaluate
from memql.engine.values import Env

__all__ = ["Bound", "Plan", "Statement"]

_MAX_VARIANTS = 64


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL text with native placeholders, and where its parameters come from."""

    sql: bytes
    sources: tuple[tuple[int, Convert], ...]


@dataclass(slots=True, kw_only=True)
class Plan:
    """One read, prepared.

    :param write: writes the statement for a combination of tags; None when no row can satisfy it.
    :param columns: how many columns of sort keys follow the document of a row.
    :param surrounded: whether each line of the result begins with its kind, as edges and further nodes follow.
    :param limit: the slot with the size of the page, counting one more.
    :param cache_ttl: seconds its results may be kept; 0 is never.
    :param number: tells plans apart.
    :param models: the model calls of its template, if it has any.
    :param identity: what cursors of this read belong to, for the values it was given.
    """

    slots: tuple[Slot, ...]
    write: Callable[[Sequence[Tag]], Statement | None]
    concepts: frozenset[str]
    kind: str
    columns: int = 0
    limit: int = -1
    surrounded: bool = False
    needs_tables: bool = False
    reads_secrets: str = ""
    cache_ttl: float = 0.0
    identity: Callable[[Env], bytes] = field(default=lambda env: b"")
    models: ModelCalls | None = None
    number: int = field(default_factory=count().__next__)
    _variants: OrderedDict[tuple[Tag, ...], Statement | None] = field(default_factory=OrderedDict)

    def evaluate(self, env: Env) -> Bound:
        """The values of the slots, and the variant their types choose."""
        values, tags = evaluate(self.slots, env)
        variants = self._variants
        try:
            statement = variants[tags]
        except KeyError:
            statement = variants[tags] = self.write(tags)
            if len(variants) > _MAX_VARIANTS:
                variants.popitem(last=False)
        return Bound(values, statement)


@dataclass(frozen=True, slots=True)
class Bound:
    """A plan with values; ``statement`` is None when no row can match."""

    values: list[Any]
    statement: Statement | None

    def params(self) -> list[str | None]:
        """The parameters of the statement."""
        assert self.statement is not None
        return bind(self.statement.sources, self.values)
