"""Directives around results that no read of the graph gave: those of builtins, and what the tree says about itself.

What SQL does to rows is done here to values in memory by the same rules (spec "SQL or process"): how values are
ordered, nulls last, ties by id; pages and their cursors; selections. A value that is no node counts as the payload of
one. Without ``sort`` the order is the builtin's own, which may mean something.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any, TypeAlias

import msgspec

from memql.engine.context import RequestContext
from memql.engine.read.cursors import CursorCodec, identity_of
from memql.engine.read.directives import ReadRequest, page_number
from memql.engine.read.fields import ANYTHING, FieldInfo, resolve_payload
from memql.engine.read.ordering import Direction, parse_path
from memql.engine.read.selection import Branch, RowPath, parse_selected, selection_tree
from memql.engine.result import Meta, Result, decode
from memql.engine.values import evaluate_call_argument
from memql.engine.values.instants import parse_instant
from memql.engine.values.operators import is_number
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog

__all__ = ["Listings"]

_encode = msgspec.json.encode
_COLUMNS = ("id", "concept", "type", "createdBy", "createdAt")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

Rank: TypeAlias = Sequence[Any]
"""What places a row: the values it is sorted by, its id, and how many before it are the same in all of that."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A value of a result: its bytes, and what is in them."""

    json: bytes
    value: Any
    is_node: bool

    def at(self, root: str, segments: Sequence[str | int]) -> Any:
        """What stands at a path; None where there is nothing."""
        value = self.value.get(root) if self.is_node else self.value if root == "payload" else None
        for segment in segments:
            if isinstance(value, Mapping):
                value = value.get(str(segment))
            elif isinstance(value, list) and isinstance(segment, int) and segment < len(value):
                value = value[segment]
            else:
                return None
        return value


class Listings:
    """See the module.

    :param catalog: the tree in force; nodes of its concepts are ordered by the declared types.
    :param codec: signs cursors.
    :param max_results: the default and largest page.
    """

    def __init__(self, catalog: Callable[[], Catalog], codec: CursorCodec, max_results: int) -> None:
        self._catalog = catalog
        self._codec = codec
        self.max_results = max_results

    def check(self, request: ReadRequest) -> None:
        """Refuse what cannot go around such a result, before it is asked for.

        :raises MemqlError: ``SYNTAX_ERROR`` for a directive that needs the graph, ``INVALID_ARGUMENT`` for a path.
        """
        _require_listing(request)
        for text, _ in request.sort:
            parse_path(text)
        for text in request.select:
            parse_selected(text)

    def directed(self, result: Result, request: ReadRequest, args: Any, ctx: RequestContext) -> Result:
        """A result with the directives of a request applied.

        :param request: whose core is the call that gave the result.
        :param args: the arguments of that call; cursors belong to them.
        :raises MemqlError: ``INVALID_ARGUMENT`` for paths, page sizes and cursors.
        """
        rows = _rows_of(result)
        if request.count:
            return Result(data=[str(len(rows)).encode()], meta=Meta(count=len(rows)))
        paths = [parse_selected(text) for text in request.select]
        for path in paths:
            self._declared(path, rows)
        keys = [key for text, direction in request.sort for key in self._keys(text, direction, rows)]
        ranked = _ranked(rows, keys, by_id=bool(request.sort))
        page, meta = self._page(ranked, _Order(keys), request, args, ctx)
        shown = [row.json for row in page] if not paths else _selected(page, paths)
        if result.nodes:
            return Result(nodes=shown, roots=len(shown) if result.roots else 0, meta=meta)
        return Result(data=shown, meta=meta)

    # --- order -----------------------------------------------------------------------------------------------------

    def _keys(self, text: str, direction: Direction, rows: Sequence[_Row]) -> list[_Key]:
        path = parse_path(text)
        readings = _readings(path[0], self._declared(path, rows), text)
        return [_Key(*path, reading, direction == "desc") for reading in readings]

    def _declared(self, path: RowPath, rows: Sequence[_Row]) -> FieldInfo:
        root, segments = path
        if root in _COLUMNS and segments:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{root} is a single value; it has no members")
        concepts = {str(row.at("concept", ())) for row in rows}
        if root != "payload" or not segments or not concepts or not concepts <= self._catalog().concepts.keys():
            return ANYTHING
        return resolve_payload(self._catalog(), concepts, segments)

    # --- pages -----------------------------------------------------------------------------------------------------

    def _page(
        self, ranked: list[tuple[Rank, _Row]], order: _Order, request: ReadRequest, args: Any, ctx: RequestContext
    ) -> tuple[list[_Row], Meta]:
        limit, position = self._bounds(request, ctx)
        identity = _identity(request, args, ctx)
        if isinstance(position, str):
            (last,) = self._codec.decode(position, identity, 1)
            beyond = msgspec.json.decode(last or "[]")
            ranked = [entry for entry in ranked if order.compare(entry[0], beyond) > 0]
        else:
            ranked = ranked[position:]
        page = ranked[:limit]
        meta = Meta(count=len(page))
        if len(ranked) > limit:
            meta.has_more = True
            meta.cursor = self._codec.encode([_encode(page[-1][0]).decode()], identity)
        return [row for _, row in page], meta

    def _bounds(self, request: ReadRequest, ctx: RequestContext) -> tuple[int, int | str]:
        if request.page is None:
            return self.max_results, 0
        limit_expr, position_expr = request.page
        limit = page_number(evaluate_call_argument(limit_expr, ctx), "paginate: the limit", least=1)
        position = None if position_expr is None else evaluate_call_argument(position_expr, ctx)
        if position is None or position == "":
            position = 0
        if not isinstance(position, str):
            position = page_number(position, "paginate: the offset", least=0)
        return min(limit, self.max_results), position


def _require_listing(request: ReadRequest) -> None:
    needing = {
        "asOf": request.as_of,
        "history": request.history,
        "withDeleted": request.deleted,
        "withDepth": request.depth,
        "shape": request.shape,
    }
    for name, given in needing.items():
        if given:
            raise MemqlError(
                Code.SYNTAX_ERROR,
                f"{name}(..) goes around a read of the graph; around what a builtin gives go sort, paginate, select "
                "and count",
                position=request.core.span.start,
                context=name,
            )


def _rows_of(result: Result) -> list[_Row]:
    if result.nodes:
        return [_Row(node, decode(node), True) for node in result.nodes]
    return [_Row(value, decode(value), False) for value in result.data]


def _identity(request: ReadRequest, args: Any, ctx: RequestContext) -> bytes:
    """What a cursor belongs to: the call and its directives apart from the page, who asks, and the arguments."""
    core = request.core
    assert isinstance(core, ast.CallRead)
    named = ast.CallRead(ast.Call(core.call.callee))
    source = hashlib.sha256(repr(replace(request, page=None, core=named)).encode()).digest()
    return identity_of(source, [ctx.actor.user_id, ctx.actor.role, args])


# --- what a value is ordered by -------------------------------------------------------------------------------------

_Reading: TypeAlias = Callable[[Any], Any]
"""From a value to what it is compared by; None comes last."""


@dataclass(frozen=True, slots=True)
class _Key:
    root: str
    segments: tuple[str | int, ...]
    reading: _Reading
    descending: bool

    def of(self, row: _Row) -> Any:
        return self.reading(row.at(self.root, self.segments))


def _readings(root: str, field: FieldInfo, text: str) -> list[_Reading]:
    """How values at a path are ordered, as :func:`memql.engine.read.ordering.sort_keys` orders stored ones."""
    if root in _COLUMNS:
        return [_as_moment if root == "createdAt" else _as_text]
    if field.only("number"):
        return [_as_number]
    if field.only("string"):
        return [_as_moment if field.instant else _as_text]
    if not field.kinds & {"number", "string", "bool"}:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{text} holds lists or objects, which have no order", context=text)
    return [_as_scalar] if field.only("bool") else [_as_number, _as_scalar]


def _as_number(value: Any) -> Any:
    return value if is_number(value) else None


def _as_moment(value: Any) -> int | None:
    moment = parse_instant(value) if isinstance(value, str) else None
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _as_scalar(value: Any) -> str | None:
    return _as_text(value) if isinstance(value, str | bool) else None


def _as_text(value: Any) -> str | None:
    """The text of a value as the database gives it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of ranks: that of the keys, and ascending in what makes it total."""

    keys: Sequence[_Key]

    def compare(self, left: Rank, right: Rank) -> int:
        """Below, at or above 0, as ``left`` stands before, at or after ``right``."""
        for number, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            if mine == theirs:
                continue
            if mine is None or theirs is None:
                return 1 if mine is None else -1
            descending = number < len(self.keys) and self.keys[number].descending
            return -1 if (mine < theirs) is not descending else 1
        return 0


def _ranked(rows: Sequence[_Row], keys: Sequence[_Key], *, by_id: bool) -> list[tuple[Rank, _Row]]:
    same: Counter[bytes] = Counter()
    ranked: list[tuple[Rank, _Row]] = []
    for row in rows:
        rank = [*(key.of(row) for key in keys), str(row.at("id", ()) or "") if by_id else ""]
        known = _encode(rank)
        ranked.append(([*rank, same[known]], row))
        same[known] += 1
    order = cmp_to_key(_Order(keys).compare)
    return sorted(ranked, key=lambda entry: order(entry[0])) if by_id else ranked


# --- what is shown of them ------------------------------------------------------------------------------------------


def _selected(page: Sequence[_Row], paths: Sequence[RowPath]) -> list[bytes]:
    tree = selection_tree(paths)
    return [_encode(_of_tree(row, tree)) for row in page]


def _of_tree(row: _Row, tree: Mapping[str, Branch]) -> Any:
    found = ((root, _members(row.at(root, ()), branch)) for root, branch in tree.items())
    members = {root: member for root, member in found if member is not None}
    return members if row.is_node else members.get("payload", {})


def _members(value: Any, branch: Branch) -> Any:
    if not branch.below:
        return value
    found = {
        str(name): member
        for name, below in branch.below.items()
        if (member := _members(_Row(b"", value, False).at("payload", (name,)), below)) is not None
    }
    return found or None
