"""The parsing loop: shifts and reduces over :class:`~memql.lang.tables.Tables`, building the tree as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memql.lang._source import Action, ParseError, Source
from memql.lang.lexer import MAX_DEPTH, Token
from memql.lang.tables import Tables

__all__ = ["Machine", "UnexpectedTokenError"]


# No construct needs this many entries per level; it bounds texts whose levels only close at their end.
_MAX_STACK = 16 * MAX_DEPTH


class UnexpectedTokenError(Exception):
    """The token at ``index`` fits no action; ``states`` is the stack before it. Never leaves the parser."""

    def __init__(self, index: int, states: list[int]) -> None:
        super().__init__(index)
        self.index = index
        self.states = states


class Machine:
    """A table-driven LALR(1) parser whose actions build values directly; it has no state between parses."""

    def __init__(self, tables: Tables, actions: dict[str, Action]) -> None:
        """
        :raises KeyError: when the grammar names an action that does not exist.
        """
        self._tables = tables
        self._rules = tuple(
            (rule.size, rule.origin, actions[rule.action] if rule.action else None, rule.keep, rule.passes)
            for rule in tables.productions
        )
        # (state below, nonterminal, lookahead) -> state, with pass-through reductions already taken.
        self._jumps: dict[tuple[int, str, str, str], int] = {}

    def parse(self, source: Source, tokens: Sequence[Token], start: str) -> Any:
        """The value of the start symbol; ``tokens`` ends with ``$END``.

        :raises UnexpectedTokenError: at the first token that cannot continue any text of the language.
        :raises ParseError: from an action, or when the tree gets too deep.
        """
        actions, rules, jumps = self._tables.actions, self._rules, self._jumps
        final = self._tables.end_states[start]
        states = [self._tables.start_states[start]]
        values: list[Any] = []
        starts: list[int] = []
        depths: list[int] = []
        last_end = 0
        for index, token in enumerate(tokens):
            kind, key = token[0], token[1] or token[0]
            before: list[int] | None = None
            while True:
                row = actions[states[-1]]
                step = row.get(key)
                if step is None and (key == kind or (step := row.get(kind)) is None):
                    raise UnexpectedTokenError(index, before or states)
                if step >= 0:
                    states.append(step)
                    values.append(token)
                    starts.append(token[3])
                    depths.append(0)
                    last_end = token[4]
                    if len(states) > _MAX_STACK:
                        raise _too_deep(token[3], token[4])
                    break
                if before is None:
                    before = states.copy()
                size, origin, build, keep, passes = rules[~step]
                if size:
                    begin = starts[-size]
                    depth = max(depths[-size:]) if size > 1 else depths[-1]
                    children = values[-size:]
                    del states[-size:], values[-size:], starts[-size:], depths[-size:]
                else:
                    begin, depth, children = token[3], 0, []
                if passes:
                    value = children[keep[0][0]]
                elif build is None:
                    value = _spliced(children, keep)
                else:
                    value = build(source, _spliced(children, keep), begin, last_end if size else begin)
                    depth += 1
                    if depth > MAX_DEPTH:
                        raise _too_deep(begin, last_end)
                jump = (states[-1], origin, key, kind)
                state = jumps.get(jump)
                if state is None:
                    state = jumps[jump] = self._jump(states[-1], origin, key, kind)
                states.append(state)
                values.append(value)
                starts.append(begin)
                depths.append(depth)
                if state == final and kind == "$END" and len(values) == 1:
                    return value
        raise AssertionError("the tokens have no end")

    def _jump(self, below: int, origin: str, key: str, kind: str) -> int:
        """The state after ``origin`` on ``below``, taking every reduction that would only pass the value on."""
        tables = self._tables
        state = tables.gotos[below][origin]
        while True:
            row = tables.actions[state]
            step = row.get(key, row.get(kind))
            if step is None or step >= 0 or not tables.productions[~step].unit:
                return state
            state = tables.gotos[below][tables.productions[~step].origin]

    def expected(self, states: list[int]) -> set[str]:
        """The terminals that could really follow: those for which the pending reductions end in a shift."""
        return {
            terminal
            for terminal in self._tables.actions[states[-1]]
            if terminal != "$END" and self._accepts(states, terminal)
        }

    def _accepts(self, states: list[int], terminal: str) -> bool:
        stack = list(states)
        while True:
            step = self._tables.actions[stack[-1]].get(terminal)
            if step is None:
                return False
            if step >= 0:
                return True
            rule = self._tables.productions[~step]
            if rule.size:
                del stack[-rule.size :]
            stack.append(self._tables.gotos[stack[-1]][rule.origin])


def _too_deep(start: int, end: int) -> ParseError:
    return ParseError(f"this is nested deeper than {MAX_DEPTH} levels", start, end)


def _spliced(children: list[Any], keep: tuple[tuple[int, bool], ...]) -> list[Any]:
    """The kept values; a list at the front is extended in place, which keeps left-recursive lists linear."""
    out: list[Any] = []
    for index, splice in keep:
        if not splice:
            out.append(children[index])
        elif out:
            out += children[index]
        else:
            out = children[index]
    return out
