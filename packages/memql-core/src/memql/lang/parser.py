"""Text to syntax tree: files, raw requests, filters and expressions through one grammar (spec "Syntax").

Files never raise: every declaration that does not parse is one finding, and the rest is still a tree. The other texts
raise a :class:`~memql.errors.MemqlError` with the offset, the line and a caret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

from memql.errors import Code, MemqlError
from memql.lang import _build_declarations, _build_expressions, _build_requests, ast
from memql.lang._explain import explain
from memql.lang._recovery import Chunk, next_chunk, restart_after, unclosed_before
from memql.lang._source import ACTIONS, ParseError, Source
from memql.lang.diagnostics import Finding
from memql.lang.lalr import Machine, UnexpectedTokenError
from memql.lang.lexer import END, Comment, Lexed, Token, lex
from memql.lang.tables import load_tables

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_REQUEST_BYTES",
    "ParsedFile",
    "ensure_parsed",
    "parse_expr",
    "parse_file",
    "parse_filter",
    "parse_read",
    "parse_request",
]

MAX_REQUEST_BYTES = 256 * 1024
MAX_FILE_BYTES = 4 * 1024 * 1024
_CACHED_REQUESTS = 1024
_CACHED_LENGTH = 8 * 1024
_CONTEXT_WIDTH = 100
# A text with more is no source file; going on would only cost time.
_MAX_FINDINGS = 200
_BUILDERS = (_build_declarations, _build_expressions, _build_requests)


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file as far as it parses.

    ``file`` has every declaration without a finding; ``comments`` are those that belong to no node, in source order.
    """

    file: ast.File
    findings: tuple[Finding, ...]
    comments: tuple[Comment, ...]


def parse_file(text: str, file: str = "<text>") -> ParsedFile:
    """Parse a source file. Never raises: what does not parse is reported, each broken declaration once."""
    if _too_long(text, MAX_FILE_BYTES):
        span = ast.Span(file, 1, 1, 1, 1, 0, 0)
        finding = Finding("error", "syntax", f"the file is larger than {MAX_FILE_BYTES} bytes; split it", span)
        return ParsedFile(ast.File((), (), (), span=span), (finding,), ())
    lexed = lex(text)
    source = Source(text, file, lexed)
    try:
        tree = _run(source, lexed.tokens, "file")
        findings: tuple[Finding, ...] = ()
    except ParseError as failure:
        source = Source(text, file, lexed)
        tree, findings = _recover(source, lexed, failure)
    comments = sorted([*lexed.comments, *source.unused_docs()], key=lambda comment: comment.start)
    return ParsedFile(tree, findings, tuple(comments))


def ensure_parsed(parsed: ParsedFile, text: str) -> ParsedFile:
    """The file itself when it parsed without a finding.

    :raises MemqlError: ``SYNTAX_ERROR`` for its first finding, as :func:`parse_request`.
    """
    if not parsed.findings:
        return parsed
    first = parsed.findings[0]
    source = Source(text, first.span.file, Lexed([]))
    failure = ParseError(first.message, first.span.start, first.span.end, code=first.code)
    raise _syntax_error(source, failure)


def parse_request(text: str) -> ast.Request:
    """Parse a raw request. Texts that come again cost a dictionary lookup.

    :raises MemqlError: ``SYNTAX_ERROR`` with ``position``, ``context`` and, where one is near, a ``suggestion``;
        ``details.reason`` is the finding code, for example ``filter-mixed``.
    """
    return _cached_request(text) if len(text) <= _CACHED_LENGTH else _parse_request(text)


def parse_read(text: str) -> ast.Read:
    """Parse the read part of a request: directives around a call or a filter.

    :raises MemqlError: as :func:`parse_request`.
    """
    return cast("ast.Read", _parse_text(text, "read", raw=True))


def parse_filter(text: str) -> ast.Expr:
    """Parse a filter such as stands in ``@filter`` or ``@defaultFilter``.

    :raises MemqlError: as :func:`parse_request`.
    """
    return cast("_build_expressions.Filter", _parse_text(text, "filter")).expr


def parse_expr(text: str) -> ast.Expr:
    """Parse an expression.

    :raises MemqlError: as :func:`parse_request`.
    """
    return cast("ast.Expr", _parse_text(text, "expr"))


def _parse_request(text: str) -> ast.Request:
    return cast("ast.Request", _parse_text(text, "request", raw=True))


_cached_request: Callable[[str], ast.Request] = lru_cache(maxsize=_CACHED_REQUESTS)(_parse_request)


@cache
def _machine() -> Machine:
    return Machine(load_tables(), ACTIONS)


def _parse_text(text: str, start: str, *, raw: bool = False) -> Any:
    if _too_long(text, MAX_REQUEST_BYTES):
        raise MemqlError(
            Code.SYNTAX_ERROR,
            f"the text is larger than {MAX_REQUEST_BYTES} bytes; send values as variables",
            position=0,
            details={"reason": "syntax"},
        )
    lexed = lex(text)
    source = Source(text, "", lexed, raw=raw)
    try:
        return _run(source, lexed.tokens, start)
    except ParseError as failure:
        raise _syntax_error(source, failure) from None


def _too_long(text: str, limit: int) -> bool:
    return len(text) > limit // 4 and len(text.encode("utf-8", "surrogatepass")) > limit


def _run(source: Source, tokens: list[Token], start: str) -> Any:
    machine = _machine()
    try:
        value = machine.parse(source, tokens, start)
    except UnexpectedTokenError as stop:
        raise explain(source, tokens, stop.index, machine.expected(stop.states)) from None
    if source.least_int is not None:
        raise ParseError("the number does not fit into 64 bits", source.least_int, source.least_int + 19)
    return value


def _syntax_error(source: Source, failure: ParseError) -> MemqlError:
    span = source.span(failure.start, failure.end)
    line = source.line_text(span.line)
    column = span.column - 1
    first = max(0, column - _CONTEXT_WIDTH)
    shown = line[first : column + _CONTEXT_WIDTH]
    width = span.end_column - span.column if span.end_line == span.line else len(line) - column
    caret = " " * (column - first) + "^" * max(1, min(width, first + len(shown) - column))
    return MemqlError(
        Code.SYNTAX_ERROR,
        f"line {span.line}, column {span.column}: {failure.message}",
        position=failure.start,
        context=f"{shown}\n{caret}",
        details={"reason": failure.code, "line": span.line, "column": span.column},
        suggestion={"didYouMean": failure.suggestion} if failure.suggestion else None,
    )


def _recover(source: Source, lexed: Lexed, first: ParseError) -> tuple[ast.File, tuple[Finding, ...]]:
    """Parse declaration by declaration, reporting each that fails; ``first`` is what failed on the whole."""
    tokens = lexed.tokens
    failures: list[ParseError] = []
    files: list[ast.File] = []
    declared = False
    at = 0
    while tokens[at].kind != END and len(failures) < _MAX_FINDINGS:
        chunk = next_chunk(tokens, at)
        missing = unclosed_before(source.text, tokens, chunk)
        if missing is not None and chunk.unclosed is not None:
            failures.append(_missing_brace(source, tokens[chunk.unclosed], tokens[missing]))
            at = missing
            continue
        at = chunk.stop
        end = tokens[chunk.stop - 1].end
        part = [*tokens[chunk.start : chunk.stop], Token(END, "", "", end, end)]
        try:
            _refuse_misplaced(part, chunk, declared)
            files.append(_run(source, part, "file"))
        except ParseError as failure:
            failures.append(failure)
            at = restart_after(source.text, tokens, chunk, failure.start)
        declared = declared or chunk.head != "use"
    merged = ast.File(
        tuple(annotation for file in files for annotation in file.annotations),
        tuple(use for file in files for use in file.uses),
        tuple(decl for file in files for decl in file.decls),
        span=source.span(0, len(source.text)),
    )
    return merged, tuple(
        Finding("error", failure.code, failure.message, source.span(failure.start, failure.end))
        for failure in failures or [first]
    )


def _missing_brace(source: Source, opened: Token, found: Token) -> ParseError:
    line = source.span(opened.start, opened.end).line
    return ParseError(
        f"`{found.value}` begins a line as a new declaration would, but the `{opened.value}` of line {line} is not "
        "closed; add what closes it before this line",
        found.start,
        found.end,
    )


def _refuse_misplaced(part: list[Token], chunk: Chunk, declared: bool) -> None:
    """Refuse retired forms that the grammar has no rule for (spec "Reserved names"), and late imports."""
    head = next((token for token in part if token.value == chunk.head), part[0])
    if chunk.head == "func":
        raise ParseError(
            "`func (..)` is retired; declare a `query`, `mutation`, `logic` or `automation` with an `args` block",
            head.start,
            head.end,
            code="legacy-form",
        )
    if chunk.head != "use":
        return
    if not any(token.kind == "{" for token in part):
        words = [token.value for token in part if token.kind == "IDENT" and token is not head]
        module, name = ".".join(words[:-1]) or "<namespace>.<kind>", words[-1] if words else "<name>"
        raise ParseError(
            f"`use` without braces is retired; write `use {module}.{{ {name} }}`",
            head.start,
            part[-1].end,
            code="legacy-form",
        )
    if declared:
        raise ParseError("imports stand before the first declaration; move this `use` up", head.start, head.end)
