"""Prompt templates: ``{{.a.b}}``, ``{{json .a}}``, ``{{if}}..{{else}}..{{end}}``, ``{{range}}..{{end}}`` (spec
"Construct rules", Prompt).

Parsing is pure and happens once, when the tree loads; rendering cannot fail for a template that parsed: a missing
member renders as nothing. Inside ``range``, ``.`` is the item and ``$`` the whole input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from memql.errors import Code, MemqlError

__all__ = ["Template", "parse_template", "render"]

_TAG = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_PATH = re.compile(r"(\$?)((?:\.[A-Za-z_][A-Za-z0-9_]*|\.[0-9]+)+|\.)|\$")
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class _Path:
    from_root: bool
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Value:
    path: _Path
    as_json: bool


@dataclass(frozen=True, slots=True)
class _If:
    path: _Path
    then: tuple[_Part, ...]
    otherwise: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    path: _Path
    body: tuple[_Part, ...]
    otherwise: tuple[_Part, ...]


_Part: TypeAlias = str | _Value | _If | _Range


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    parts: tuple[_Part, ...]

    def render(self, data: Mapping[str, Any]) -> str:
        """The text for ``data``; non-strings appear in JSON form, null as nothing."""
        out: list[str] = []
        _write(self.parts, data, data, out)
        return "".join(out)

    def fields(self) -> frozenset[str]:
        """The top-level members it reads; those inside ``range`` only where they go through ``$``."""
        return frozenset(_fields(self.parts, at_root=True))


@lru_cache(maxsize=512)
def parse_template(text: str) -> Template:
    """Parse a template.

    :raises MemqlError: ``SYNTAX_ERROR`` with the position of the tag that is wrong.
    """
    return Template(_Parser(text).parse())


def render(text: str, data: Mapping[str, Any]) -> str:
    """Parse (cached) and render."""
    return parse_template(text).render(data)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._at = 0

    def parse(self) -> tuple[_Part, ...]:
        parts, end = self._block(0)
        if end is not None:
            raise self._error(end[1], f"{{{{{end[0]}}}}} closes nothing")
        return parts

    def _split(self) -> list[tuple[str, str, int]]:
        tokens: list[tuple[str, str, int]] = []
        at = 0
        trim_next = False
        for match in _TAG.finditer(self._text):
            literal = self._text[at : match.start()]
            literal = literal.lstrip() if trim_next else literal
            literal = literal.rstrip() if match[1] else literal
            if literal:
                tokens.append(("text", literal, at))
            tokens.append(("tag", match[2], match.start()))
            trim_next = bool(match[3])
            at = match.end()
        rest = self._text[at:].lstrip() if trim_next else self._text[at:]
        if "{{" in rest:
            raise self._error(at + rest.index("{{"), "a tag is not closed with }}")
        if rest:
            tokens.append(("text", rest, at))
        return tokens

    def _block(self, depth: int) -> tuple[tuple[_Part, ...], tuple[str, int] | None]:
        """Parts up to an ``else`` or ``end`` (returned with its position) or the end of the text (None)."""
        if depth > _MAX_DEPTH:
            raise self._error(0, f"blocks nest more than {_MAX_DEPTH} deep")
        parts: list[_Part] = []
        while self._at < len(self._tokens):
            kind, text, position = self._tokens[self._at]
            self._at += 1
            if kind == "text":
                parts.append(text)
                continue
            word, _, rest = text.partition(" ")
            if text in ("else", "end"):
                return tuple(parts), (text, position)
            if word in ("if", "range") and rest:
                parts.append(self._open(word, rest, position, depth))
            elif word == "json" and rest:
                parts.append(_Value(self._path(rest, position), as_json=True))
            elif not text.startswith("/*"):
                parts.append(_Value(self._path(text, position), as_json=False))
        return tuple(parts), None

    def _open(self, word: str, rest: str, position: int, depth: int) -> _If | _Range:
        path = self._path(rest, position)
        body, end = self._block(depth + 1)
        otherwise: tuple[_Part, ...] = ()
        if end is not None and end[0] == "else":
            otherwise, end = self._block(depth + 1)
        if end is None or end[0] != "end":
            raise self._error(position, f"{{{{{word} {rest}}}}} has no {{{{end}}}}")
        return _If(path, body, otherwise) if word == "if" else _Range(path, body, otherwise)

    def _path(self, text: str, position: int) -> _Path:
        if not (match := _PATH.fullmatch(text.strip())):
            raise self._error(position, f"{{{{{text}}}}} is no path such as .title or .visits.0.score")
        dotted = match[2] or "."
        return _Path(text.strip().startswith("$"), tuple(part for part in dotted.split(".") if part))

    def _error(self, position: int, message: str) -> MemqlError:
        line = self._text.count("\n", 0, position) + 1
        return MemqlError(Code.SYNTAX_ERROR, f"template line {line}: {message}", position=position)


def _fields(parts: Sequence[_Part], *, at_root: bool) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            continue
        if part.path.segments and (at_root or part.path.from_root):
            yield part.path.segments[0]
        if isinstance(part, _If):
            yield from _fields(part.then, at_root=at_root)
            yield from _fields(part.otherwise, at_root=at_root)
        elif isinstance(part, _Range):
            yield from _fields(part.body, at_root=False)
            yield from _fields(part.otherwise, at_root=at_root)


def _write(parts: Sequence[_Part], dot: Any, root: Any, out: list[str]) -> None:
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, _Value):
            out.append(_text(_walk(part.path, dot, root), part.as_json))
        elif isinstance(part, _If):
            _write(part.then if _walk(part.path, dot, root) else part.otherwise, dot, root, out)
        else:
            items = _walk(part.path, dot, root)
            items = list(items.values()) if isinstance(items, Mapping) else items
            if isinstance(items, Sequence) and not isinstance(items, str) and items:
                for item in items:
                    _write(part.body, item, root, out)
            else:
                _write(part.otherwise, dot, root, out)


def _walk(path: _Path, dot: Any, root: Any) -> Any:
    value = root if path.from_root else dot
    for segment in path.segments:
        if isinstance(value, Mapping):
            value = value.get(segment)
        elif isinstance(value, Sequence) and not isinstance(value, str) and segment.isdigit():
            value = value[int(segment)] if int(segment) < len(value) else None
        else:
            return None
    return value


def _text(value: Any, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(value).decode()
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
