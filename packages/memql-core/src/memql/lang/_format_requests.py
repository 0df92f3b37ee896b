"""Raw requests as text, on one line each part."""

from __future__ import annotations

from memql.lang import ast
from memql.lang._flat import expr_text, filter_text, needs_bracket, quote

__all__ = ["read_text", "request_text"]

_CONCEPT = ast.Name("concept")


def request_text(request: ast.Request) -> str:
    """The inline specs, one per line, then the read or write."""
    lines = [f"{name} := {_filter(expr)}" for name, expr in request.lets]
    match request.operation:
        case ast.InsertRequest(concept=concept, named=named):
            lines.append(_write("insert", concept, named))
        case ast.UpdateRequest(concept=concept, named=named):
            lines.append(_write("update", concept, named))
        case ast.DeleteRequest(concept=concept, named=named):
            lines.append(_write("delete", concept, named))
        case read:
            lines.append(read_text(read))
    return "\n".join(lines)


def read_text(read: ast.Read) -> str:
    """A call, a filter, or directives around one."""
    match read:
        case ast.DirectiveRead(directive=directive, read=inner, args=args):
            return f"{directive}({', '.join([read_text(inner), *map(expr_text, args)])})"
        case ast.CallRead(call=call):
            return expr_text(call)
        case ast.FilterRead():
            return _filter_read(read)


def _filter_read(read: ast.FilterRead) -> str:
    text = _filter(_with_options(read))
    if read.as_of is None:
        return text
    return f"{text} @ {'latest' if read.as_of == 'latest' else quote(read.as_of)}"


def _with_options(read: ast.FilterRead) -> ast.Expr:
    """The filter with the options of ``concept`` written into its first comparison of ``concept``."""
    options = "" if read.concept_cache is None else f"@cache({read.concept_cache})"
    if read.concept_fields is not None:
        options += f"@fields({', '.join(map(quote, read.concept_fields))})"
    if not options:
        return read.filter
    marked = ast.Name(f"concept{options}")
    items = read.filter.items if isinstance(read.filter, ast.BoolOp) else (read.filter,)
    for index, item in enumerate(items):
        if isinstance(item, ast.Compare) and item.left == _CONCEPT:
            compare = ast.Compare(item.op, marked, item.right)
            if isinstance(read.filter, ast.BoolOp):
                return ast.BoolOp(read.filter.op, (*items[:index], compare, *items[index + 1 :]))
            return compare
    raise ValueError("only a filter that compares `concept` at its top level has options")


def _filter(expr: ast.Expr) -> str:
    text = filter_text(expr, ";")
    return f"({text})" if needs_bracket(text) else text


def _write(kind: str, concept: str, named: tuple[tuple[str, ast.Expr], ...]) -> str:
    return f"{kind}({', '.join([quote(concept), *(f'{name}={expr_text(value)}' for name, value in named)])})"
