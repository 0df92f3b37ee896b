"""Comparisons as SQL, specialised by the types of what is compared (spec "Values and operators").

Each gives a condition that is true exactly when the comparison holds; where it does not, it is false or null, and the
caller negates with ``IS NOT TRUE``. Declared indexes are met in their own words (:mod:`memql.graph.indexes`).
"""

from __future__ import annotations

from memql.engine.read.expressions import Constant, Operand, constant_json
from memql.engine.read.params import (
    as_json,
    as_json_list,
    as_moment,
    as_moments,
    as_number,
    as_numbers,
    as_options,
    as_prefix,
    as_single,
    as_text,
    as_texts,
    quoted,
)
from memql.engine.read.writing import Row, Writing

__all__ = ["compare"]

Side = Operand | Constant
Condition = str | bool

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compare(op: str, left: Side, right: Side, instants: bool, row: Row, writing: Writing) -> Condition:
    """``left op right`` as a condition, or its outcome when the types alone decide it."""
    writer = _Comparisons(instants, row, writing)
    match op:
        case "==":
            return writer.equal(left, right)
        case "in":
            return writer.among(left, right)
        case "has":
            return writer.holds(left, right)
        case "startsWith":
            return writer.starts_with(left, right)
        case "matches":
            return writer.matches(left, right)
        case _:
            return writer.ordered(op, left, right)


class _Comparisons:
    def __init__(self, instants: bool, row: Row, writing: Writing) -> None:
        self.instants = instants
        self.row = row
        self.writing = writing
        self.params = writing.params

    # --- equality --------------------------------------------------------------------------------------------------

    def equal(self, left: Side, right: Side) -> Condition:
        if isinstance(left, Constant):
            left, right = right, left
        if isinstance(left, Constant):
            return self._equal_json(self.json(left), self.json(right))
        if isinstance(right, Operand):
            return self._equal_operands(left, right)
        return self._equal_constant(left, right)

    def _equal_operands(self, left: Operand, right: Operand) -> Condition:
        if left.is_moment or right.is_moment:
            return f"{left.moment} = {right.moment}"
        if left.column or right.column:
            return f'({left.text} COLLATE "C" = {right.text}{left.string_check}{right.string_check})'
        return self._equal_json(left.json, right.json)

    def _equal_json(self, left: str, right: str) -> str:
        return f"memql_equal{'_instants' if self.instants else ''}({left}, {right})"

    def _equal_constant(self, left: Operand, right: Constant) -> Condition:
        tag, slot = right.tag, right.slot
        if tag.startswith("="):
            return self._equal_exact(left, tag[1:])
        if tag == "0":
            return left.missing
        if tag == "i":
            if left.column:
                return self._equal_text(left, slot)
            return f"{left.moment} = {self.params.add(slot, as_moment, 'timestamptz')}"
        if tag == "s":
            return False if left.is_moment else self._equal_text(left, slot)
        if right.matches_nothing or left.column or left.is_moment:
            return False
        if tag in ("t", "f"):
            return f"{left.json} = {quoted('true' if tag == 't' else 'false')}::jsonb"
        if tag == "n" and left.kinds == {"number"}:
            return f"memql_number({left.json}) = {self.params.add(slot, as_number, 'numeric')}"
        return f"{left.json} = {self.params.add(slot, as_json, 'jsonb')}"

    def _equal_exact(self, left: Operand, wanted: str) -> Condition:
        """A comparison of ``concept``: decided if the row can be of no or only that concept."""
        if wanted not in self.row.concepts:
            return False
        return True if len(self.row.concepts) == 1 else f"{left.text} = {quoted(wanted)}"

    def _equal_text(self, left: Operand, slot: int) -> str:
        text = self.params.add(slot, as_text, "text")
        if left.column:
            return f"{left.text} = {text}"
        return f'({left.text} COLLATE "C" = {text}{left.string_check})'

    # --- order -----------------------------------------------------------------------------------------------------

    def ordered(self, op: str, left: Side, right: Side) -> Condition:
        if isinstance(left, Constant):
            if isinstance(right, Constant):
                return self._ordered_json(op, self.json(left), self.json(right))
            return self.ordered(_MIRRORED[op], right, left)
        if isinstance(right, Constant):
            return self._ordered_constant(op, left, right)
        if left.is_moment or right.is_moment:
            return f"{left.moment} {op} {right.moment}"
        if left.column and right.column:
            return f"{left.text} {op} {right.text}"
        return self._ordered_json(op, left.json, right.json)

    def _ordered_json(self, op: str, left: str, right: str) -> str:
        return f"memql_order{'_instants' if self.instants else ''}({left}, {right}) {op} 0"

    def _ordered_constant(self, op: str, left: Operand, right: Constant) -> Condition:
        tag, slot = right.tag, right.slot
        if tag == "i":
            return f"{left.moment} {op} {self.params.add(slot, as_moment, 'timestamptz')}"
        if tag == "n" and not (left.column or left.is_moment):
            return f"memql_number({left.json}) {op} {self.params.add(slot, as_number, 'numeric')}"
        if tag == "s" and not self.instants:
            return f'({left.text} COLLATE "C" {op} {self.params.add(slot, as_text, "text")}{left.string_check})'
        return False

    # --- membership ------------------------------------------------------------------------------------------------

    def among(self, left: Side, right: Side) -> Condition:
        if isinstance(right, Constant):
            if not right.tag.startswith("l"):
                return False
            if isinstance(left, Operand):
                return self._among_constants(left, right)
            return f"memql_in({self.json(left)}, {self._options(right)}, {self._flag})"
        if isinstance(left, Constant) and not left.tag.startswith("l"):
            return self._list_holds(right, left)
        return f"memql_in({self.json(left)}, {right.json}, {self._flag})"

    def _among_constants(self, left: Operand, options: Constant) -> Condition:
        """One condition per type of option; a list on the left needs the general form."""
        slot, tags = options.slot, set(options.tag[1:])
        if "list" in left.kinds:
            return f"memql_in({left.json}, {self._options(options)}, {self._flag})"
        found: list[str] = []
        if left.is_moment:
            if "i" in tags:
                found.append(f"{left.moment} = ANY({self.params.add(slot, as_moments, 'timestamptz[]')})")
        elif left.column:
            if tags & {"s", "i"}:
                found.append(f"{left.text} = ANY({self.params.add(slot, as_texts, 'text[]')})")
        else:
            found += self._among_values(left, slot, tags)
        return f"({' OR '.join(found)})" if found else False

    def _among_values(self, left: Operand, slot: int, tags: set[str]) -> list[str]:
        found: list[str] = []
        if "i" in tags:
            found.append(f"{left.moment} = ANY({self.params.add(slot, as_moments, 'timestamptz[]')})")
        if "s" in tags:
            texts = self.params.add(slot, as_texts, "text[]")
            found.append(f'({left.text} COLLATE "C" = ANY({texts}){left.string_check})')
        if "n" in tags:
            found.append(f"memql_number({left.json}) = ANY({self.params.add(slot, as_numbers, 'numeric[]')})")
        if tags & {"b", "o", "l"}:
            found.append(f"{left.json} = ANY({self.params.add(slot, as_json_list, 'jsonb[]')})")
        if "0" in tags:
            found.append(left.missing)
        return found

    def holds(self, left: Side, right: Side) -> Condition:
        if isinstance(left, Operand) and isinstance(right, Constant):
            return self._list_holds(left, right)
        if isinstance(left, Constant) and not left.tag.startswith("l"):
            return False
        return f"memql_has({self.json(left)}, {self.json(right)}, {self._flag})"

    def _list_holds(self, items: Operand, wanted: Constant) -> Condition:
        if items.column or items.is_moment or wanted.matches_nothing:
            return False
        if wanted.tag in ("s", "n", "t", "f"):
            # Containment by a list of one scalar is membership, and false for anything but a list.
            return f"{items.json} @> {self.params.add(wanted.slot, as_single, 'jsonb')}"
        return f"memql_has({items.json}, {self.json(wanted)}, {self._flag})"

    def _options(self, options: Constant) -> str:
        return self.params.add(options.slot, as_options, "jsonb")

    @property
    def _flag(self) -> str:
        return "TRUE" if self.instants else "FALSE"

    # --- texts -----------------------------------------------------------------------------------------------------

    def starts_with(self, left: Side, right: Side) -> Condition:
        if isinstance(left, Operand) and isinstance(right, Constant):
            if right.tag not in ("s", "i"):
                return False
            prefix = self.params.add(right.slot, as_prefix, "text")
            return f"(starts_with({left.text}, {prefix}){left.string_check})"
        text, prefix = self._string(left), self._string(right)
        return f"(starts_with({text}, {prefix}) AND NOT memql_blank({self.json(right)}))"

    def matches(self, left: Side, right: Side) -> Condition:
        if isinstance(left, Operand) and isinstance(right, Constant):
            if right.tag not in ("s", "i"):
                return False
            search = self.params.add(right.slot, as_text, "text")
            return f"(memql_matches({left.text}, {search}){left.string_check})"
        return f"memql_matches({self._string(left)}, {self._string(right)})"

    def _string(self, side: Side) -> str:
        return f"memql_string({self.json(side)})"

    def json(self, side: Side) -> str:
        return side.json if isinstance(side, Operand) else constant_json(side, self.writing)
