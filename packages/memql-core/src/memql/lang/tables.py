"""The parse tables: made from ``grammar.lark`` by lark once, kept beside it, and loaded in milliseconds.

``python -m memql.lang.tables`` writes ``grammar.json`` anew; a test refuses tables that are older than the
grammar. Nothing in this module imports lark unless tables are being made, so a process that only parses never
pays for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["STARTS", "Production", "Tables", "compile_tables", "load_tables"]

STARTS = ("file", "request", "read", "filter", "expr")
_GRAMMAR = "grammar.lark"
_DATA = "grammar.json"
# A minus after an operand continues the expression, wherever the next line might also have begun with one.
_CONTINUES = "-"


class Production(NamedTuple):
    """One production, reduced to what the driver needs.

    ``keep`` lists the kept right-hand symbols as (index, whether its value is a list to be spliced in).
    ``action`` names the builder function; it is empty for a list (``splice``) and for a pass-through
    (``unit``).
    """

    origin: str
    size: int
    action: str
    keep: tuple[tuple[int, bool], ...]
    unit: bool
    passes: bool


@dataclass(frozen=True, slots=True)
class Tables:
    """LALR(1) tables. An action is a state to shift to (>= 0), or the complement of the production to reduce
    by."""

    digest: str
    productions: tuple[Production, ...]
    actions: tuple[dict[str, int], ...]
    gotos: tuple[dict[str, int], ...]
    start_states: dict[str, int]
    end_states: dict[str, int]


@cache
def load_tables() -> Tables:
    """The tables of the packaged grammar."""
    data = json.loads(Path(__file__).with_name(_DATA).read_bytes())
    rows = [dict(zip(keys, values, strict=True)) for keys, values in data["rows"]]
    return Tables(
        digest=data["digest"],
        productions=tuple(
            Production(origin, size, action, tuple((i, bool(splice)) for i, splice in keep), unit, passes)
            for origin, size, action, keep, unit, passes in data["productions"]
        ),
        actions=tuple(rows[index] for index in data["actions"]),
        gotos=tuple(rows[index] for index in data["gotos"]),
        start_states=data["start_states"],
        end_states=data["end_states"],
    )


def grammar_digest(grammar: str) -> str:
    """What ties tables to the grammar they were made from."""
    import hashlib

    return hashlib.sha256(grammar.encode()).hexdigest()[:16]


def compile_tables(grammar: str) -> Tables:
    """Run lark's LALR analysis over a grammar.

    :raises ValueError: when the grammar has a conflict other than the documented one on ``-``.
    """
    from lark.common import ParserConf
    from lark.load_grammar import GrammarBuilder
    from lark.parsers.lalr_analysis import LALR_Analyzer, Shift

    builder = GrammarBuilder()
    builder.load_grammar(grammar, _GRAMMAR)
    loaded = builder.build()
    terminals, rules, _ = loaded.compile(list(STARTS), "*")
    # A terminal with a pattern is a literal of the grammar; the driver knows it by its text.
    spelling = {item.name: item.pattern.value for item in terminals if item.pattern is not None}
    analyzer: Any = LALR_Analyzer(ParserConf(rules, {}, list(STARTS)), strict=False)
    analyzer.compute_lalr()
    _refuse_conflicts(analyzer, spelling)
    return _numbered(analyzer.parse_table, rules, spelling, grammar_digest(grammar), Shift)


def _numbered(table: Any, rules: list[Any], spelling: dict[str, str], digest: str, shift: object) -> Tables:
    """The tables with states and productions numbered by what they are, so that equal grammars give equal files."""
    rules = sorted(rules, key=lambda rule: (rule.origin.name, [symbol.name for symbol in rule.expansion], rule.order))
    numbers = {rule: index for index, rule in enumerate(rules)}
    nonterminals = {rule.origin.name for rule in rules}
    order = _breadth_first(table)
    renumbered = {state: index for index, state in enumerate(order)}
    actions: list[dict[str, int]] = []
    gotos: list[dict[str, int]] = []
    for state in order:
        row, goto = {}, {}
        for symbol, (kind, target) in sorted(table.states[state].items(), key=lambda item: item[0]):
            if symbol in nonterminals:
                goto[symbol] = renumbered[target]
            else:
                step = renumbered[target] if kind is shift else ~numbers[target]
                row[spelling.get(symbol, symbol)] = step
        actions.append(row)
        gotos.append(goto)
    return Tables(
        digest=digest,
        productions=tuple(_production(rule) for rule in rules),
        actions=tuple(actions),
        gotos=tuple(gotos),
        start_states={start: renumbered[table.start_states[start]] for start in STARTS},
        end_states={start: renumbered[table.end_states[start]] for start in STARTS},
    )


def _breadth_first(table: Any) -> list[Any]:
    order = [table.start_states[start] for start in STARTS]
    seen = set(order)
    for state in order:
        for _, (_, target) in sorted(table.states[state].items(), key=lambda item: item[0]):
            if target in table.states and target not in seen:
                seen.add(target)
                order.append(target)
    return order


def _production(rule: Any) -> Production:
    keep = tuple(
        (index, not symbol.is_term and symbol.name.startswith("_"))
        for index, symbol in enumerate(rule.expansion)
        if not symbol.is_term or rule.options.keep_all_tokens or not getattr(symbol, "filter_out", False)
    )
    origin = rule.origin.name
    splice = origin.startswith("_")
    passes = rule.options.expand1 and not rule.alias and len(keep) == 1 and not keep[0][1]
    action = rule.alias or rule.options.template_source or origin
    return Production(
        origin=origin,
        size=len(rule.expansion),
        action="" if splice or passes else str(action),
        keep=keep,
        unit=passes and len(rule.expansion) == 1,
        passes=passes,
    )


def _refuse_conflicts(analyzer: Any, spelling: dict[str, str]) -> None:
    for state in analyzer.lr0_itemsets:
        for terminal in state.lookaheads:
            if terminal in state.transitions and spelling.get(terminal.name) != _CONTINUES:
                rules = ", ".join(str(rule) for rule in state.lookaheads[terminal])
                raise ValueError(f"the grammar can both shift and reduce on {terminal.name}: {rules}")


def write_tables(folder: Path) -> None:
    """Make the tables of ``grammar.lark`` in ``folder`` and store them as ``grammar.json``."""
    tables = compile_tables((folder / _GRAMMAR).read_text(encoding="utf-8"))
    rows: dict[str, int] = {}

    def shared(row: dict[str, int]) -> int:
        text = json.dumps([list(row), list(row.values())], separators=(",", ":"))
        return rows.setdefault(text, len(rows))

    data = {
        "digest": tables.digest,
        "start_states": tables.start_states,
        "end_states": tables.end_states,
        "productions": tables.productions,
        "actions": [shared(row) for row in tables.actions],
        "gotos": [shared(row) for row in tables.gotos],
    }
    head = json.dumps(data, separators=(",", ":"))[:-1]
    body = ",\n".join(rows)
    (folder / _DATA).write_text(f'{head},\n"rows":[\n{body}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    write_tables(Path(__file__).parent)
