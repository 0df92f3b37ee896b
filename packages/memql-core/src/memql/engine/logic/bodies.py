"""Bodies compiled once: statements as small objects over compiled expressions (spec "Construct rules",
Logic)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

import anyio.lowlevel

from memql.engine.context import IdSequence, RequestContext
from memql.engine.values import NOT_RAN, Compiled, Env, Invocation, TypeScope, compile_expr, truth
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Scope

__all__ = ["MAX_ITERATIONS", "Body", "Expression", "Frame", "Performer", "compile_body"]


MAX_ITERATIONS: Final = 100_000
"""How often the loops of one run of a body may go round, all together."""

_YIELD_EVERY: Final = 500

Performer: TypeAlias = Callable[[Invocation, RequestContext], Awaitable[Any]]
"""Carries out one effect in a context."""


@dataclass(slots=True)
class _Budget:
    """What is left of the iterations of a run."""

    iterations: int = MAX_ITERATIONS

    def spend(self) -> None:
        if self.iterations == 0:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"the loops of this body went round {MAX_ITERATIONS} times; narrow the query it ranges over",
            )
        self.iterations -= 1


class Frame:
    """One run of a body: its names, its context, and where it stands.

    Inside an automation the place of every statement and iteration is part of the context's id sequence, so
    that ids and journal entries are the same whenever the run is repeated.
    """

    __slots__ = ("_budget", "_perform", "_places", "ctx", "env", "returned", "value")

    def __init__(self, env: Env, ctx: RequestContext, perform: Performer, budget: _Budget | None = None) -> None:
        self.env = env
        self.ctx = ctx
        self.returned = False
        self.value: Any = None
        self._perform = perform
        self._budget = budget or _Budget()
        self._places: IdSequence | None = None

    async def invoke(self, invocation: Invocation) -> Any:
        """Carry out an effect; every call gets a place of its own below the statement's."""
        ctx = self.ctx
        if self._places is None:
            return await self._perform(invocation, ctx)
        self._places.count += 1
        return await self._perform(invocation, replace(ctx, ids=self._places.child(f"c{self._places.count}")))

    def stand_at(self, place: str) -> None:
        """Begin the statement at ``place``."""
        if self.ctx.ids is not None:
            self._places = self.ctx.ids.child(place)
            self.env.ids = self._places.child("n")

    def iteration(self, place: str, name: str, item: Any) -> Frame:
        """The frame of one turn of a loop: bindings made in it end with it."""
        self._budget.spend()
        ctx = self.ctx if self.ctx.ids is None else replace(self.ctx, ids=self.ctx.ids.child(place))
        env = replace(self.env, bindings={**self.env.bindings, name: item})
        return Frame(env, ctx, self._perform, self._budget)

    async def breathe(self) -> None:
        """Now and then, let others run and a time limit take effect."""
        if self._budget.iterations % _YIELD_EVERY == 0:
            await anyio.lowlevel.checkpoint()

    def bind(self, name: str, value: Any) -> None:
        """Give a name its one value."""
        bindings = self.env.bindings
        assert isinstance(bindings, dict)
        bindings[name] = value


class _Value(Protocol):
    """Something that has a value in a frame."""

    async def value(self, frame: Frame) -> Any: ...


class Expression:
    """A compiled expression as a statement's operand."""

    __slots__ = ("_compiled", "_pure")

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._pure = not compiled.effectful

    async def value(self, frame: Frame) -> Any:
        """Evaluate; effects go through the frame."""
        if self._pure:
            return self._compiled.evaluate(frame.env)
        return await self._compiled.run(frame.env, frame.invoke)


class _Statement(Protocol):
    """One statement: ``run`` gives the value of what it evaluated last, for ``x := if c { call }``."""

    async def run(self, frame: Frame) -> Any: ...


@dataclass(frozen=True, slots=True)
class Body:
    """Statements in execution order. ``needs_tables`` tells whether variables or secrets must be loaded
    before."""

    statements: tuple[tuple[str, _Statement], ...]
    needs_tables: bool = False

    async def run(self, frame: Frame) -> Any:
        """Run to the end or to a ``return``; the value of the last statement, or NOT_RAN of an empty body."""
        last: Any = NOT_RAN
        for place, statement in self.statements:
            frame.stand_at(place)
            last = await statement.run(frame)
            if frame.returned:
                break
        return last


@dataclass(frozen=True, slots=True)
class _Assign:
    name: str
    source: _Value

    async def run(self, frame: Frame) -> Any:
        value = await self.source.value(frame)
        frame.bind(self.name, value)
        return value


@dataclass(frozen=True, slots=True)
class _Evaluate:
    source: _Value

    async def run(self, frame: Frame) -> Any:
        return await self.source.value(frame)


@dataclass(frozen=True, slots=True)
class _Return:
    source: _Value

    async def run(self, frame: Frame) -> Any:
        frame.value = await self.source.value(frame)
        frame.returned = True
        return frame.value


@dataclass(frozen=True, slots=True)
class _Branch:
    test: _Value
    then: Body
    otherwise: Body | _Branch | None

    async def value(self, frame: Frame) -> Any:
        if truth(await self.test.value(frame)):
            return await self.then.run(frame)
        if self.otherwise is None:
            return NOT_RAN
        if isinstance(self.otherwise, Body):
            return await self.otherwise.run(frame)
        return await self.otherwise.value(frame)

    run = value


@dataclass(frozen=True, slots=True)
class _Loop:
    place: str
    name: str
    source: _Value
    body: Body

    async def run(self, frame: Frame) -> Any:
        last: Any = NOT_RAN
        for number, item in enumerate(_ranged(await self.source.value(frame))):
            turn = frame.iteration(f"{self.place}.{number}", self.name, item)
            await turn.breathe()
            last = await self.body.run(turn)
            if turn.returned:
                frame.returned, frame.value = True, turn.value
                break
        return last


def _ranged(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return value
    if value is None or value is NOT_RAN:
        return ()
    raise MemqlError(Code.INVALID_ARGUMENT, f"range goes over a list or a result set, not over {type(value).__name__}")


class _Compiler:
    """Compiles one body. Places are numbers in source order: ``2`` is the third statement, ``2t0`` the first
    of its block, so that a changed order of execution changes no place."""

    def __init__(self, catalog: Catalog, scope: Scope, types: TypeScope) -> None:
        self._catalog = catalog
        self._scope = scope
        self._types = types
        self.needs_tables = False

    def block(self, block: ast.Block, place: str, order: Sequence[int] | None = None) -> Body:
        positions = range(len(block.statements)) if order is None else order
        compiled = []
        for position in positions:
            here = f"{place}{position}"
            compiled.append((here, self._statement(block.statements[position], here)))
        return Body(tuple(compiled))

    def _statement(self, statement: ast.Stmt, place: str) -> _Statement:
        match statement:
            case ast.AssignStmt(name=name, value=assigned):
                if isinstance(assigned, ast.IfExpr):
                    return _Assign(name, self._branch(assigned, place))
                return _Assign(name, self._expression(assigned))
            case ast.IfStmt(branch=branch):
                return self._branch(branch, place)
            case ast.ForStmt(name=name, source=source, body=body):
                return _Loop(place, name, self._expression(source), self.block(body, "i"))
            case ast.ReturnStmt(value=value):
                return _Return(self._expression(value))
            case ast.ExprStmt(value=value):
                return _Evaluate(self._expression(value))

    def _branch(self, branch: ast.IfExpr, place: str) -> _Branch:
        otherwise: Body | _Branch | None = None
        if isinstance(branch.otherwise, ast.Block):
            otherwise = self.block(branch.otherwise, f"{place}e")
        elif branch.otherwise is not None:
            otherwise = self._branch(branch.otherwise, f"{place}e")
        return _Branch(self._expression(branch.test), self.block(branch.then, f"{place}t"), otherwise)

    def _expression(self, expr: ast.Expr) -> Expression:
        compiled = compile_expr(expr, self._scope, self._catalog, mode="logic", types=self._types)
        self.needs_tables = self.needs_tables or compiled.needs_tables
        return Expression(compiled)


def compile_body(block: ast.Block, order: Sequence[int], scope: Scope, catalog: Catalog, types: TypeScope) -> Body:
    """Compile a body whose top-level statements run in ``order``.

    :raises MemqlError: as :func:`memql.engine.values.compile_expr`.
    """
    compiler = _Compiler(catalog, scope, types)
    body = compiler.block(block, "", order)
    return replace(body, needs_tables=compiler.needs_tables)
