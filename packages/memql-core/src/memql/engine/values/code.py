"""Compiled pieces of expressions and how they combine.

A :class:`Code` is a closure over an :class:`~memql.engine.values.env.Env`: synchronous when nothing below it
has an effect, else asynchronous. Combinators keep evaluation order and short-circuiting the same in both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from memql.engine.values.env import Env, Invoke
from memql.engine.values.operators import truth
from memql.engine.values.text import is_blank
from memql.errors import MemqlError

__all__ = ["Code", "Guard", "choose", "condition", "constant", "first_given", "lenient", "listed", "strict"]

Run: TypeAlias = Callable[[Env], Any]
AsyncRun: TypeAlias = Callable[[Env, Invoke], Awaitable[Any]]
Guard: TypeAlias = Callable[[Env], bool]
"""Whether a guarded term takes part in its list."""


@dataclass(frozen=True, slots=True)
class Code:
    """One compiled expression. Exactly one of ``run`` and ``run_async`` is set.

    ``reads_row`` tells expressions over row data, where a value of the wrong type counts as null;
    ``is_condition`` those whose value is always a boolean.
    """

    run: Run | None = None
    run_async: AsyncRun | None = None
    reads_row: bool = False
    is_condition: bool = False

    async def value(self, env: Env, invoke: Invoke) -> Any:
        """Evaluate, carrying out effects if there are any."""
        if self.run is not None:
            return self.run(env)
        assert self.run_async is not None
        return await self.run_async(env, invoke)


def constant(value: Any) -> Code:
    """Always ``value``."""
    return Code(lambda env: value, is_condition=isinstance(value, bool))


def _runs(parts: Sequence[Code]) -> list[Run] | None:
    runs = [part.run for part in parts if part.run is not None]
    return runs if len(runs) == len(parts) else None


def strict(operation: Callable[..., Any], *parts: Code, is_condition: bool = False) -> Code:
    """``operation`` on the values of all parts, evaluated left to right."""
    reads_row = any(part.reads_row for part in parts)
    runs = _runs(parts)
    if runs is None:

        async def run_async(env: Env, invoke: Invoke) -> Any:
            return operation(*[await part.value(env, invoke) for part in parts])

        return Code(None, run_async, reads_row, is_condition)
    run: Run
    if len(runs) == 1:
        (only,) = runs
        run = lambda env: operation(only(env))  # noqa: E731 - the hot shapes are spelled out
    elif len(runs) == 2:
        left, right = runs
        run = lambda env: operation(left(env), right(env))  # noqa: E731
    else:
        run = lambda env: operation(*[part(env) for part in runs])  # noqa: E731
    return Code(run, None, reads_row, is_condition)


def listed(parts: Sequence[Code]) -> Code:
    """A list of the values of all parts."""
    return strict(lambda *values: list(values), *parts)


def lenient(operation: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
    """``operation`` with ``otherwise`` where the values do not fit it."""

    def tried(*values: Any) -> Any:
        try:
            return operation(*values)
        except MemqlError:
            return otherwise

    return tried


def condition(part: Code, *, forgiving: bool) -> Code:
    """The truth of a part; with ``forgiving``, row data that is no boolean is false."""
    if part.is_condition:
        return part
    test = lenient(truth, False) if forgiving and part.reads_row else truth
    return strict(test, part, is_condition=True)


def choose(test: Code, then: Code, otherwise: Code) -> Code:
    """``then`` or ``otherwise``; only the chosen one is evaluated."""
    reads_row = test.reads_row or then.reads_row or otherwise.reads_row
    known = then.is_condition and otherwise.is_condition
    runs = _runs((test, then, otherwise))
    if runs is None:

        async def run_async(env: Env, invoke: Invoke) -> Any:
            chosen = then if await test.value(env, invoke) else otherwise
            return await chosen.value(env, invoke)

        return Code(None, run_async, reads_row, known)
    asked, first, second = runs
    return Code(lambda env: first(env) if asked(env) else second(env), None, reads_row, known)


def first_given(parts: Sequence[Code]) -> Code:
    """The first value that is neither null nor blank text, else the last; later parts are not evaluated."""
    reads_row = any(part.reads_row for part in parts)
    runs = _runs(parts)
    if runs is None:

        async def run_async(env: Env, invoke: Invoke) -> Any:
            value = None
            for part in parts:
                value = await part.value(env, invoke)
                if not is_blank(value):
                    break
            return value

        return Code(None, run_async, reads_row)
    known = runs

    def run(env: Env) -> Any:
        value = None
        for part in known:
            value = part(env)
            if not is_blank(value):
                break
        return value

    return Code(run, None, reads_row)


def every_or_any(items: Sequence[tuple[Guard | None, Code]], *, every: bool) -> Code:
    """AND (``every``) or OR of conditions, short-circuiting; guarded items may leave, and an empty list is
    true."""
    reads_row = any(part.reads_row for _, part in items)
    runs = _runs([part for _, part in items])
    if runs is None:

        async def run_async(env: Env, invoke: Invoke) -> bool:
            empty = True
            for guard, part in items:
                if guard is not None and not guard(env):
                    continue
                empty = False
                if bool(await part.value(env, invoke)) is not every:
                    return not every
            return every or empty

        return Code(None, run_async, reads_row, True)
    guarded = [(guard, run) for (guard, _), run in zip(items, runs, strict=True)]
    if all(guard is None for guard, _ in guarded):
        return Code(_plain(runs, every), None, reads_row, True)

    def run(env: Env) -> bool:
        empty = True
        for guard, part in guarded:
            if guard is not None and not guard(env):
                continue
            empty = False
            if bool(part(env)) is not every:
                return not every
        return every or empty

    return Code(run, None, reads_row, True)


def _plain(runs: Sequence[Run], every: bool) -> Run:
    if every:

        def all_hold(env: Env) -> bool:
            for part in runs:  # noqa: SIM110 - half the time of all()
                if not part(env):
                    return False
            return True

        return all_hold

    def any_holds(env: Env) -> bool:
        for part in runs:  # noqa: SIM110
            if part(env):
                return True
        return False

    return any_holds
