"""How the parts of the engine see each other: four executors behind one facade.

``Engine`` parses, looks up and checks who may call; each executor runs one kind of construct. Executors reach one
another only through these protocols, so that each can be read, tested and replaced alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from memql.engine.context import RequestContext
from memql.engine.result import Result
from memql.lang import ast
from memql.lang.catalog import Builtin, Catalog, Logic, Mutation, Query

__all__ = ["BuiltinExecutor", "Callables", "LogicRunner", "Reader", "Writer"]


class Reader(Protocol):
    """Runs reads: raw filters, named queries, directives, templates."""

    async def read(
        self, read: ast.Read, lets: Mapping[str, ast.Expr], ctx: RequestContext, *, cursor: str = ""
    ) -> Result:
        """Run a raw read, a named query with or without directives around it included; from ``cursor`` on."""
        ...

    async def query(self, query: Query, args: Mapping[str, Any], ctx: RequestContext) -> Result:
        """Run a named query as declared: shaped data or a bundle."""
        ...

    async def nodes(self, query: Query, args: Mapping[str, Any], ctx: RequestContext) -> list[dict[str, Any]]:
        """Run a named query for a body: unshaped, decoded nodes."""
        ...


class Writer(Protocol):
    """Runs writes: the pipeline of the spec's "Write pipeline", events after commit."""

    async def request(
        self, request: ast.InsertRequest | ast.UpdateRequest | ast.DeleteRequest, ctx: RequestContext
    ) -> Result:
        """Run a raw write."""
        ...

    async def mutate(self, mutation: Mutation, args: Mapping[str, Any], ctx: RequestContext) -> Result:
        """Run a named mutation; its result's one node is the written row."""
        ...

    async def insert(
        self, concept: str, payload: Mapping[str, Any], ctx: RequestContext, *, id: str | None = None
    ) -> Result:
        """Insert as the engine itself (seeds, audit rows, imports)."""
        ...


class LogicRunner(Protocol):
    """Runs bodies."""

    async def run(self, logic: Logic, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Run a logic and return its value (a list of nodes keeps its nodes)."""
        ...


class BuiltinExecutor(Protocol):
    """Host code behind a builtin's ``@executor`` name."""

    async def __call__(self, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Run; a list of ``{"concept", "payload"}`` dicts is a result set, anything else is data."""
        ...


class Callables(Protocol):
    """What a body may call, by the resolved key; the engine facade implements it."""

    @property
    def catalog(self) -> Catalog:
        """The tree in force."""
        ...

    async def invoke(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Call a query (list of nodes), mutation (list of one node), logic or builtin as a body does."""
        ...

    async def invoke_builtin(self, builtin: Builtin, args: Any, ctx: RequestContext) -> Any:
        """Call a builtin through its argument profile."""
        ...
