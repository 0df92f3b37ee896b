"""Predicates as SQL conditions with exact two-valued logic.

Negation is pushed down to the comparisons, and a negated one is written ``(..) IS NOT TRUE``. Above them only AND and
OR remain, under which a null behaves as false at the top of a WHERE clause; so positive comparisons need no wrapping
and keep their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from memql.engine.read.comparisons import compare
from memql.engine.read.expressions import json_sql, operand
from memql.engine.read.links import Link
from memql.engine.read.pointers import linked, pointer_values
from memql.engine.read.slots import SKIPPED
from memql.engine.read.terms import (
    Column,
    Comparison,
    Either,
    Every,
    Flag,
    Folded,
    Given,
    InSet,
    Known,
    Not,
    Predicate,
    Selection,
)
from memql.engine.read.walks import walk_ids
from memql.engine.read.writing import Row, Writing

__all__ = ["Condition", "Conditions"]

Condition = str | bool


class Conditions:
    """Writes the predicates of one statement."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing

    def where(self, selection: Selection, row: Row, *, root: bool = False) -> tuple[str, str] | None:
        """FROM item and WHERE condition of a selection; None when no row can satisfy it.

        :param root: whether these are the rows asked for; see :meth:`Writing.source`.
        """
        found = self.predicate(selection.predicate, row)
        if found is False or not selection.concepts:
            return None
        narrowed = self._id_condition(selection.predicate, row)
        source, conditions = self.writing.source(row, narrowed, root=root)
        if isinstance(found, str):
            conditions.append(found)
        return source, " AND ".join(conditions) or "TRUE"

    def predicate(self, predicate: Predicate, row: Row, negated: bool = False) -> Condition:
        """A predicate, or its negation, as a condition; a boolean when it is decided."""
        match predicate:
            case Every(items=items):
                return self._list(items, row, negated, every=True)
            case Either(items=items):
                return self._list(items, row, negated, every=False)
            case Not(item=item):
                return self.predicate(item, row, not negated)
            case Given(slot=slot, item=item):
                return self.predicate(item, row, negated) if self._holds(slot) else not negated
            case Known(slot=slot):
                return self._holds(slot) is not negated
            case _:
                return self._atom(predicate, row, negated)

    def _holds(self, slot: int) -> bool:
        return self.writing.tags[slot] == "t"

    def _list(self, items: Iterable[Predicate], row: Row, negated: bool, *, every: bool) -> Condition:
        present = [item for item in items if not (isinstance(item, Given) and not self._holds(item.slot))]
        if not present:
            return not negated
        conjunction = every is not negated
        parts: list[str] = []
        for item in present:
            found = self.predicate(item, row, negated)
            if found is (not conjunction):
                return found
            if isinstance(found, str):
                parts.append(found)
        if not parts:
            return conjunction
        if len(parts) == 1:
            return parts[0]
        return " AND ".join(parts) if conjunction else f"({' OR '.join(parts)})"

    def _atom(self, atom: Comparison | Flag | InSet, row: Row, negated: bool) -> Condition:
        match atom:
            case Comparison(op=op, left=left, right=right, instants=instants):
                one, other = (operand(side, row, self.writing, self.predicate) for side in (left, right))
                found = compare(op, one, other, instants, row, self.writing)
            case Flag(value=value):
                found = f"{json_sql(value, row, self.writing, self.predicate)} = 'true'::jsonb"
            case InSet():
                found = self._in_set(atom, row)
        if isinstance(found, bool):
            return found is not negated
        return f"({found}) IS NOT TRUE" if negated else found

    # --- relationship functions ------------------------------------------------------------------------------------

    def _in_set(self, in_set: InSet, row: Row) -> Condition:
        if in_set.function == "ids":
            ids = self.subselect(in_set.inner, lambda inner: inner.column("id"))
            return ids is not None and f"{row.column('id')} IN ({ids})"
        if in_set.depth != 1:
            ids = walk_ids(self, in_set)
            return ids is not None and f"{row.column('id')} IN ({ids})"
        found = [condition for link in in_set.links if (condition := self._via(link, in_set.inner, row))]
        return f"({' OR '.join(found)})" if found else False

    def _via(self, link: Link, inner: Selection, row: Row) -> str:
        """The row is reached over one link; empty when it cannot be."""
        if link.result_concept not in row.concepts or link.inner_concept not in inner.concepts:
            return ""
        some = Selection(frozenset({link.inner_concept}), inner.predicate)
        if link.result == "holder":
            ids = self.subselect(some, lambda target: target.column("id"))
            found = linked(link, row, f"IN ({ids})") if ids is not None else ""
        else:
            pointers = self.subselect(some, lambda holder: pointer_values(link, holder))
            found = f"{row.column('id')} IN ({pointers})" if pointers is not None else ""
        if found and len(row.concepts) > 1:
            return f"({self.writing.concept_condition(row.alias, frozenset({link.result_concept}))} AND {found})"
        return found

    def subselect(self, selection: Selection, output: Callable[[Row], str]) -> str | None:
        """``SELECT output FROM .. WHERE ..`` over a selection; None when it is empty."""
        row = Row(self.writing.alias(), selection.concepts)
        found = self.where(selection, row)
        return None if found is None else f"SELECT {output(row)} FROM {found[0]} WHERE {found[1]}"

    # --- narrowing -------------------------------------------------------------------------------------------------

    def finds_one(self, predicate: Predicate) -> bool:
        """Whether the AND list asks for one id, so that at most one row matches."""
        match predicate:
            case Every(items=items):
                return any(self.finds_one(item) for item in items)
            case Comparison(op="==", left=Column(name="id"), right=Folded(slot=slot)):
                return self.writing.tags[slot] in ("s", "i")
            case _:
                return False

    def _id_condition(self, predicate: Predicate, row: Row) -> str:
        """What the AND list says about the id, for the rows versions are chosen of."""
        if self.writing.versions.mode == "latest":
            return ""
        items = predicate.items if isinstance(predicate, Every) else (predicate,)
        head = Row("h", row.concepts)
        found: list[str] = []
        for item in items:
            match item:
                case Every():
                    nested = self._id_condition(item, row)
                    found += [nested] if nested else []
                case Comparison(op="==" | "in", left=Column(name="id"), right=Folded(slot=slot)) if (
                    self.writing.tags[slot] != SKIPPED
                ):
                    condition = self._atom(item, head, negated=False)
                    found += [condition] if isinstance(condition, str) else []
        return " AND ".join(found)
