"""The text of an envelope: ``NAME=VALUE`` lines (spec "Secrets", genesis envelope).

A line is blank, a comment (``#``), or an assignment with an optional ``export`` before it. A bare value ends
at the line's end or at white space followed by ``#``. In single quotes everything is literal; in double
quotes ``\\n``, ``\\r``, ``\\t``, ``\\"``, ``\\$`` and ``\\\\`` are escapes. Quoted values may span lines.
Nothing is interpolated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from memql.errors import Code, MemqlError

__all__ = ["format_env", "parse_env"]

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_BARE = re.compile(r"((?:[^\n \t]|[ \t]+(?![ \t]*(?:#|\n|\Z)))*)")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "$": "$", "\\": "\\"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_env(text: str) -> dict[str, str]:
    """The assignments of an environment file, in its order.

    :raises MemqlError: ``CONFIG_INVALID`` naming the line: not an assignment, an unfinished quote, or a name
        that was assigned before. Values are not repeated in messages.
    """
    source = text.removeprefix("\ufeff").replace("\r\n", "\n")
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    at = 0
    while at < len(source):
        if blank := _BLANK.match(source, at):
            at = blank.end()
            continue
        line = source.count("\n", 0, at) + 1
        head = _NAME.match(source, at)
        if head is None:
            raise _malformed(line, "expected NAME=VALUE")
        name = head[1]
        if name in lines:
            raise _malformed(line, f"{name} was already set on line {lines[name]}")
        values[name], at = _value(source, head.end(), line)
        lines[name] = line
    return values


def format_env(values: Mapping[str, str]) -> str:
    """Environment file text that :func:`parse_env` reads back as ``values``, in their order.

    :raises MemqlError: ``CONFIG_INVALID`` when a name is none, or a value has a NUL character.
    """
    lines = []
    for name, value in values.items():
        if not _IDENTIFIER.fullmatch(name):
            raise MemqlError(Code.CONFIG_INVALID, f"{name!r} is not the name of an environment variable")
        if "\0" in value:
            raise MemqlError(Code.CONFIG_INVALID, f"the value of {name} has a NUL character")
        lines.append(f"{name}={value if _PLAIN.fullmatch(value) else _quote(value)}\n")
    return "".join(lines)


def _value(source: str, at: int, line: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where the next line begins."""
    quote = source[at : at + 1]
    if quote in {"'", '"'}:
        found = (_SINGLE if quote == "'" else _DOUBLE).match(source, at)
        if found is None:
            raise _malformed(line, "the quote is never closed")
        value = found[1] if quote == "'" else _ESCAPE.sub(lambda match: _unescape(match[1], line), found[1])
    else:
        found = _BARE.match(source, at)
        assert found is not None
        value = found[1]
    rest = _BLANK.match(source, found.end())
    if rest is None:
        raise _malformed(line, "there is text after the closing quote")
    return value, rest.end()


def _unescape(character: str, line: int) -> str:
    if character not in _ESCAPES:
        raise _malformed(line, f"unknown escape \\{character} in double quotes")
    return _ESCAPES[character]


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _malformed(line: int, what: str) -> MemqlError:
    return MemqlError(Code.CONFIG_INVALID, f"line {line} of the environment file: {what}", details={"line": line})
