"""Expressions compiled once into closures (spec "Values and operators", "Functions").

The AST is walked at plan time; evaluation is a handful of Python calls. The same operators and the same
choice of "as moments or as text" serve the SQL compiler, so that both evaluators agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from memql.engine.context import RequestContext
from memql.engine.values.code import Code, condition
from memql.engine.values.compiler import Compiler
from memql.engine.values.env import Env, Invoke
from memql.engine.values.static_types import TypeScope
from memql.lang import ast
from memql.lang.catalog import Catalog, Scope

__all__ = ["Compiled", "compile_expr", "compile_filter", "evaluate_call_argument"]

Mode: TypeAlias = Literal["filter", "write", "logic"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression ready to run.

    ``effectful`` ones call constructs, policies, models or publish events: they need :meth:`run`.
    ``needs_tables`` asks for ``Env.tables`` (variables or secrets) to be loaded before; ``reads_row`` tells
    whether a row takes part.
    """

    code: Code
    needs_tables: bool

    @property
    def effectful(self) -> bool:
        """Whether evaluation may have effects."""
        return self.code.run is None

    @property
    def reads_row(self) -> bool:
        """Whether the value depends on a row."""
        return self.code.reads_row

    def evaluate(self, env: Env) -> Any:
        """The value of an expression without effects.

        :raises MemqlError: ``INVALID_ARGUMENT`` and what functions raise.
        """
        run = self.code.run
        assert run is not None, "an effectful expression needs run()"
        return run(env)

    async def run(self, env: Env, invoke: Invoke) -> Any:
        """The value of any expression; effects go through ``invoke``, left to right, short-circuiting kept.

        :raises MemqlError: as :meth:`evaluate`, and what ``invoke`` raises.
        """
        return await self.code.value(env, invoke)


def compile_expr(
    expr: ast.Expr,
    scope: Scope,
    catalog: Catalog,
    *,
    mode: Mode,
    types: TypeScope = TypeScope(),  # noqa: B008 - frozen
    allow_secrets: bool = False,
) -> Compiled:
    """Compile an expression of a write block (``write``), a body or step (``logic``), or a filter value
    (``filter``).

    :param scope: what names mean inside the construct the expression stands in.
    :param types: what is declared around it; decides which comparisons are of moments.
    :param allow_secrets: whether ``secret(..)`` may stand here: in the argument of a builtin only.
    :raises MemqlError: ``UNKNOWN_FUNCTION`` or ``INVALID_ARGUMENT`` for what cannot run in this mode.
    """
    compiler = Compiler(catalog, scope, mode, types, allow_secrets)
    code = compiler.compile(expr)
    return Compiled(code, compiler.needs_tables)


def compile_filter(
    expr: ast.Expr,
    scope: Scope,
    catalog: Catalog,
    *,
    types: TypeScope = TypeScope(),  # noqa: B008 - frozen
) -> Compiled:
    """Compile a filter to run in process on ``Env.row``: a row of a concept, a builtin's result, or an event.

    Row data of the wrong type compares false, as in SQL. Specs and traits are compiled in place.

    :raises MemqlError: as :func:`compile_expr`; ``INVALID_ARGUMENT`` for relationship functions, which need
        the graph.
    """
    compiler = Compiler(catalog, scope, "filter", types, allow_secrets=False)
    code = condition(compiler.compile(expr), forgiving=True)
    return Compiled(code, compiler.needs_tables)


def evaluate_call_argument(expr: ast.Expr, ctx: RequestContext, catalog: Catalog | None = None) -> Any:
    """The value of an argument in raw text: literals, ``$variables`` and functions of them.

    :param catalog: where concept names in ``canonicalId(..)`` are looked up.
    :raises MemqlError: ``INVALID_ARGUMENT`` for a variable not given and what functions raise.
    """
    compiled = compile_expr(expr, _NOWHERE, catalog or _NOTHING, mode="write")
    return compiled.evaluate(Env.of(ctx))


_NOWHERE = Scope()
_NOTHING = Catalog(version="")
