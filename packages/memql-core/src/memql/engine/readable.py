"""The rows of a concept that a caller may read, when no construct is called: what recall and its like look at.

The rules are those of raw reads and of events: ``@rowAuthz`` is part of every statement, deleted rows are not there,
and of a concept without a rule administrators see all rows and others those they wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from memql.auth import Actor
from memql.engine.context import RequestContext
from memql.engine.ports import Reader
from memql.lang import ast
from memql.lang.catalog import Concept

__all__ = ["FieldPath", "ReadableRows", "sees_all_unruled"]

FieldPath = tuple[str, ...]
"""The segments of a payload field."""


def sees_all_unruled(actor: Actor) -> bool:
    """Whether the actor sees every row of a concept without ``@rowAuthz``; anybody else sees those they wrote."""
    return actor.bypasses_row_rules or actor.has_role("admin")


class ReadableRows:
    """Rows as decoded nodes, newest first, with secrets masked as everywhere."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def newest(self, concept: Concept, actor: Actor, limit: int) -> list[dict[str, Any]]:
        """The rows written last."""
        return await self._read(concept, actor, "newest", (), limit, {})

    async def matching(
        self, concept: Concept, paths: Sequence[FieldPath], search: str, actor: Actor, limit: int
    ) -> list[dict[str, Any]]:
        """Rows where one of the fields matches a full-text search in web syntax."""
        return await self._read(concept, actor, "matching", tuple(paths), limit, {"search": search})

    async def of_ids(self, concept: Concept, ids: Sequence[str], actor: Actor) -> list[dict[str, Any]]:
        """The rows of these ids."""
        return await self._read(concept, actor, "ids", (), max(len(ids), 1), {"ids": list(ids)})

    async def _read(
        self, concept: Concept, actor: Actor, kind: str, paths: tuple[FieldPath, ...], limit: int, variables: Any
    ) -> list[dict[str, Any]]:
        own = concept.row_rule is None and not sees_all_unruled(actor)
        if own and not actor.user_id:
            return []
        read = _rows(concept.key, kind, paths, own)
        given = {**variables, "limit": limit, "caller": actor.user_id}
        result = await self._reader.read(read, {}, RequestContext(actor=actor, variables=given, inner=True))
        return result.decoded_nodes()


@lru_cache(maxsize=2048)
def _rows(concept: str, kind: str, paths: tuple[FieldPath, ...], own: bool) -> ast.Read:
    """The read as an object that stays the same, so that its plan is kept."""
    terms: list[ast.Expr] = [ast.Compare("==", ast.Name("concept"), ast.ConceptRef(concept))]
    if own:
        terms.append(ast.Compare("==", ast.Name("createdBy"), ast.Var("caller")))
    if kind == "ids":
        terms.append(ast.Compare("in", ast.Name("id"), ast.Var("ids")))
    elif kind == "matching":
        found = tuple(ast.Compare("matches", _payload(path), ast.Var("search")) for path in paths)
        terms.append(found[0] if len(found) == 1 else ast.BoolOp("||", found))
    condition = terms[0] if len(terms) == 1 else ast.BoolOp("&&", tuple(terms))
    return ast.DirectiveRead("paginate", ast.FilterRead(condition), (ast.Var("limit"),))


def _payload(path: FieldPath) -> ast.Expr:
    expr: ast.Expr = ast.Name("payload")
    for segment in path:
        expr = ast.Member(expr, segment)
    return expr
