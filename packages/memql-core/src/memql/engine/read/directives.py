"""A read taken apart: what it selects, and the directives around it (spec "Raw query language").

Each directive stands at most once, in any order, outermost; the parser has seen to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Query

__all__ = ["CURSOR", "Latest", "ReadRequest", "clauses_of", "continued", "page_number", "take_apart"]

Direction = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Latest:
    """``latest``: the default, said aloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One read with its directives. Absent ones are None, False or empty.

    ``page`` is the limit and what may follow it: an offset or a cursor. ``shape`` is a name or a template.
    """

    core: ast.FilterRead | ast.CallRead
    as_of: ast.Expr | Latest | None = None
    sort: tuple[tuple[str, Direction], ...] = ()
    page: tuple[ast.Expr, ast.Expr | None] | None = None
    select: tuple[str, ...] = ()
    shape: ast.Expr | None = None
    with_bundle: bool = False
    depth: int | None = None
    count: bool = False
    history: tuple[ast.Expr | None, ast.Expr | None] | None = None
    deleted: bool = False


def take_apart(read: ast.Read) -> ReadRequest:
    """The core of a read and its directives.

    :raises MemqlError: ``SYNTAX_ERROR`` for a directive that is unknown, repeated or misused.
    """
    layers: list[ast.DirectiveRead] = []
    while isinstance(read, ast.DirectiveRead):
        layers.append(read)
        read = read.read
    request = ReadRequest(core=read)
    if isinstance(read, ast.FilterRead) and read.as_of is not None:
        at = Latest() if read.as_of == "latest" else ast.Literal(read.as_of, span=read.span)
        request = replace(request, as_of=at)
    seen = {"asOf"} if request.as_of is not None else set()
    for layer in reversed(layers):
        name = _FAMILY.get(layer.directive, layer.directive)
        if name in seen:
            raise _misuse(layer, f"{layer.directive}(..) stands twice; each directive can be given once")
        seen.add(name)
        request = _DIRECTIVES[layer.directive](layer, request)
    if request.history is not None and request.as_of is not None:
        raise _misuse(layers[0], "history(..) reads every version; give it a time range instead of asOf")
    return request


def clauses_of(query: Query, request: ReadRequest) -> ReadRequest:
    """The request with the clauses of a named query where no directive takes their place."""
    sort: tuple[tuple[str, Direction], ...] = query.sort
    shape = ast.Literal(query.shape) if query.shape else None
    return replace(
        request,
        as_of=request.as_of or (None if request.history is not None else query.as_of),
        sort=request.sort or sort,
        page=request.page or ((query.paginate, None) if query.paginate is not None else None),
        shape=request.shape or shape,
        count=request.count or query.count,
    )


def continued(request: ReadRequest, most: int) -> ReadRequest:
    """The request from where the caller's cursor says, :data:`CURSOR` among its variables.

    :param most: the size of a page where the read names none.
    :raises MemqlError: ``INVALID_ARGUMENT`` when it has no pages, or begins one at a place of its own.
    """
    if request.count:
        raise MemqlError(Code.INVALID_ARGUMENT, "a count has no pages, so no cursor continues it")
    limit, position = request.page or (ast.Literal(most), None)
    if position is not None:
        raise MemqlError(
            Code.INVALID_ARGUMENT, "the query says itself where its page begins; give either that or a cursor beside it"
        )
    return replace(request, page=(limit, ast.Var(CURSOR)))


def page_number(value: Any, what: str, *, least: int) -> int:
    """The limit or offset of a page.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is no whole number of at least ``least``.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**62:
        return value
    raise MemqlError(Code.INVALID_ARGUMENT, f"{what} must be a whole number of at least {least}, not {value!r}")


def _misuse(node: ast.DirectiveRead, message: str) -> MemqlError:
    return MemqlError(Code.SYNTAX_ERROR, message, position=node.span.start, context=node.directive)


def _texts(node: ast.DirectiveRead) -> list[str]:
    found = []
    for arg in node.args:
        if not isinstance(arg, ast.Literal) or not isinstance(arg.value, str):
            raise _misuse(node, f'{node.directive}(read, ..) takes texts such as "payload.title"')
        found.append(arg.value)
    return found


def _count_args(node: ast.DirectiveRead, least: int, most: int, usage: str) -> None:
    if not least <= len(node.args) <= most:
        raise _misuse(node, f"{node.directive}(..) is used as {usage}")


def _as_of(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 1, 1, 'asOf(read, "2026-03-01T00:00:00Z")')
    at = node.args[0]
    latest = isinstance(at, ast.Name) and at.name == "latest"
    return replace(request, as_of=Latest() if latest else at)


def _sort(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    keys: list[tuple[str, Direction]] = []
    texts = _texts(node)
    for at, text in enumerate(texts):
        if text == "asc" or text == "desc":
            if at == 0 or texts[at - 1] in ("asc", "desc"):
                raise _misuse(node, f'"{text}" must follow a field, as in sort(read, "createdAt", "asc")')
            keys[-1] = (keys[-1][0], cast("Direction", text))
        else:
            keys.append((text, "desc"))
    if not keys:
        raise _misuse(node, 'sort(..) is used as sort(read, "payload.title", "asc")')
    return replace(request, sort=tuple(keys))


def _paginate(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 1, 2, 'paginate(read, 20), paginate(read, 20, 40) or paginate(read, 20, "<cursor>")')
    return replace(request, page=(node.args[0], node.args[1] if len(node.args) > 1 else None))


def _select(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 1, 200, 'select(read, "payload.title", ..)')
    return replace(request, select=tuple(_texts(node)))


def _shape(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 1, 1, f'{node.directive}(read, "name") or {node.directive}(read, {{..}})')
    return replace(request, shape=node.args[0], with_bundle=node.directive == "shapeWithBundle")


def _with_depth(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 1, 1, "withDepth(read, 2)")
    depth = node.args[0]
    if not isinstance(depth, ast.Literal) or not isinstance(depth.value, int) or isinstance(depth.value, bool):
        raise _misuse(node, "withDepth(read, n) takes a whole number")
    if not 1 <= depth.value <= MAX_DEPTH:
        raise MemqlError(Code.INVALID_ARGUMENT, f"withDepth(read, n) goes 1 to {MAX_DEPTH} levels, not {depth.value}")
    return replace(request, depth=depth.value)


def _count(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 0, 0, "count(read)")
    return replace(request, count=True)


def _history(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 0, 2, 'history(read, "from", "to")')
    since, until = (*node.args, None, None)[:2]
    return replace(request, history=(since, until))


def _with_deleted(node: ast.DirectiveRead, request: ReadRequest) -> ReadRequest:
    _count_args(node, 0, 0, "withDeleted(read)")
    return replace(request, deleted=True)


CURSOR: Final = "cursor of the request"
"""The variable of a cursor given beside a query; no text can spell it."""

MAX_DEPTH: Final = 32
_FAMILY: Final = {"shapeWithBundle": "shape"}
_DIRECTIVES: Final[Mapping[str, Callable[[ast.DirectiveRead, ReadRequest], ReadRequest]]] = {
    "asOf": _as_of,
    "sort": _sort,
    "paginate": _paginate,
    "select": _select,
    "shape": _shape,
    "shapeWithBundle": _shape,
    "withDepth": _with_depth,
    "count": _count,
    "history": _history,
    "withDeleted": _with_deleted,
}
