"""Why a token does not fit, in words a person uses: what could have stood there, what did, and the likely slip."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from memql.lang._source import IF_VALUE, ParseError, Source
from memql.lang.lexer import END, ERROR, Token
from memql.lang.words import CLAUSES, CONSTRUCTS, KEYWORDS

__all__ = ["explain"]

_OPERATORS = "+ - * / % ?? == != > >= < <= has startsWith matches in not && || ? . DOT_INT _CALL _INDEX"
_VALUE = frozenset({"STRING", "INT", "FLOAT", "VAR", "true", "false", "null", "nil", "{", "[", "CONCEPT", "-"})
_VALUE_EXTRAS = frozenset({"IDENT", "(", "!", "?.", "when", "RELATION", "_SCOPED_CONCEPT"})
_TYPE = frozenset({"IDENT", "enum", "map", "array", "["})
_AFTER_VALUE = frozenset(_OPERATORS.split())
_NAMES = {
    "IDENT": "a name",
    "STRING": "a text in quotes",
    "INT": "a whole number",
    "FLOAT": "a number",
    "CONCEPT": "a concept id",
    "VAR": "a variable",
    "DOT_INT": "a path segment",
    "DIRECTIVE": "a directive",
    "_AS_OF": '`@ "timestamp"`',
    "_IN_BRACKET": "a list in brackets",
}
# What is written by habit, and what it is here.
_SLIPS = (
    ("=", "=="),
    ("=", ":="),
    ("=", ":"),
    (":", "="),
    (":", ":="),
    (":=", "="),
    (":=", ":"),
    ("and", "&&"),
    ("or", "||"),
    ("is", "=="),
    ("==", "="),
)


def explain(source: Source, tokens: Sequence[Token], index: int, expected: set[str]) -> ParseError:
    """The failure for ``tokens[index]`` where only ``expected`` terminals could stand."""
    token = tokens[index]
    if token.kind == ERROR:
        return ParseError(token.value, token.start, token.end)
    before = tokens[index - 1] if index else None
    start, end = (before.end, before.end) if token.kind == END and before else (token.start, token.end)
    suggestion = _suggest(token, expected)
    message = f"expected {_listed(expected)}"
    if before:
        message += f" after {_shown(before)}"
    message += f", found {_shown(token)}"
    opened = _unclosed(tokens, index) if token.kind == END else None
    if opened:
        line = source.span(opened.start, opened.end).line
        message += f"; the `{opened.value}` of line {line} is not closed"
    elif suggestion:
        message += f"; did you mean `{suggestion}`?"
    elif token.kind in "([" and not token.alt and ({"_CALL", "_INDEX"} & expected):
        message += f"; the `{token.kind}` of a call or index stands on the line of what it follows"
    elif before and before.alt in CLAUSES and "_CALL" in expected:
        message += f"; `{before.value}` begins a clause and names no predicate"
    elif before and before.alt == "if" and "_CALL" in expected:
        message = f"{IF_VALUE}, found {_shown(token)} after `if`"
        return ParseError(message, before.start, before.end, code="if-value")
    return ParseError(message, start, end, suggestion=suggestion)


def _unclosed(tokens: Sequence[Token], index: int) -> Token | None:
    opened: list[Token] = []
    for token in tokens[:index]:
        if token.kind in "([{":
            opened.append(token)
        elif token.kind in ")]}" and opened:
            opened.pop()
    return opened[-1] if opened else None


def _shown(token: Token) -> str:
    match token.kind:
        case "$END":
            return "the end of the text"
        case "STRING":
            return f'`"{_clip(token.value)}"`'
        case "VAR":
            return f"`${token.value}`"
        case "DOT_INT":
            return f"`.{token.value}`"
        case _:
            return f"`{_clip(token.value)}`"


def _clip(text: str, limit: int = 30) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _suggest(token: Token, expected: set[str]) -> str:
    if token.kind == "=" and {":=", "return"} <= expected:
        return ":="
    for written, meant in _SLIPS:
        if token.value == written and meant in expected:
            return meant
    if token.kind != "IDENT":
        return ""
    words = sorted(word for word in expected if word in KEYWORDS and word not in _VALUE)
    close = get_close_matches(token.value, words, n=1, cutoff=0.7)
    return close[0] if close and close[0] != token.value else ""


def _listed(expected: set[str]) -> str:
    """The expected terminals as an enumeration, the many that mean one thing as one."""
    rest = set(expected)
    parts: list[str] = []
    if len(rest & _VALUE) > 6:
        parts.append("a value")
        rest -= _VALUE | _VALUE_EXTRAS
    elif rest >= _TYPE:
        parts.append("a field type")
        rest -= _TYPE
    if len(rest & _AFTER_VALUE) > 5 or {"&&", "||"} <= rest:
        parts.append("an operator")
        rest -= _AFTER_VALUE | {",", ";"} if ";" in rest else _AFTER_VALUE
    if len(rest & CONSTRUCTS) > 8:
        parts.append("a declaration such as `concept` or `query`")
        rest -= CONSTRUCTS
    if parts and len(rest & CLAUSES) > 3:
        parts.append("the next clause")
        rest -= CLAUSES
    if "@" in rest:
        rest.discard("@")
        if not parts or rest:
            parts.append("an annotation")
    if parts == ["a field type"] or ("a field type" in parts and "{" in rest):
        rest.discard("{")
        parts = ["a field type", "a block"] if "{" in expected else parts
    if {"DOT_INT", "."} <= rest:
        rest.discard("DOT_INT")
    named = sorted(_NAMES[item] for item in rest if item in _NAMES)
    literal = sorted(f"`{item}`" for item in rest if item not in _NAMES and not item.startswith(("_", "RELATION")))
    parts += named + literal
    if not parts:
        return "nothing more"
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " or " + parts[-1]
