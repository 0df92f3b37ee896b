"""What names mean around a place: the bound concept, arguments, bindings, and the members of paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from memql.lang import ast
from memql.lang.checker.tree import Declared, Space
from memql.lang.functions import CONFIG_KEYS
from memql.lang.sense.entries import Entry, field_entry, name_entry, word_entries
from memql.lang.sense.index import Index, fields_of, member_of, members_of
from memql.lang.sense.model import Target
from memql.lang.sense.place import Place
from memql.lang.sense.vocabulary import ACCESSOR_WORDS, ACTOR_WORDS, EVENT_WORDS, INTRINSIC_WORDS

__all__ = ["Surroundings"]

_CALLS: Final[tuple[Space, ...]] = ("calls",)
_ONE_ROW: Final = frozenset({"first", "last"})
_BINDING_DEPTH: Final = 8


class Surroundings:
    """The names around a place."""

    def __init__(self, place: Place, index: Index) -> None:
        self.place = place
        self.index = index

    @property
    def path(self) -> str:
        """The path of the document, as files of the index are known by."""
        return self.place.document.path

    @cached_property
    def concept(self) -> Declared | None:
        """The concept that ``payload`` is of, when there is one."""
        header = self.place.header or self.place.following_header
        if not self.place.document.is_file:
            return self._requested_concept()
        if header is None:
            return None
        if header.concept:
            return self.index.concept(header.concept, self.path)
        if header.kind == "concept":
            return self.index.concept(header.name, self.path)
        return self.trigger_concept if header.kind == "automation" else None

    @cached_property
    def trigger_concept(self) -> Declared | None:
        """The concept of the ``@trigger`` before an automation."""
        tokens = self.place.document.tokens
        header = self.place.header
        at = header.first if header else self.place.before
        for index in range(at - 1, max(at - 200, 1), -1):
            if tokens[index].kind == "}":
                return None
            if tokens[index].kind == "=" and tokens[index - 1].value == "concept":
                return self.index.concept(tokens[index + 1].value, self.path)
        return None

    def _requested_concept(self) -> Declared | None:
        """The concept a raw request compares with, else the first id in it."""
        tokens = self.place.document.tokens
        first: str = ""
        for index, token in enumerate(tokens):
            if token.kind == "CONCEPT":
                if index > 1 and tokens[index - 1].kind == "==" and tokens[index - 2].value == "concept":
                    return self.index.concept(token.value)
                first = first or token.value
        return self.index.concept(first) if first else None

    def payload_fields(self, path: tuple[str, ...] = ()) -> Iterator[tuple[ast.FieldDecl, str]]:
        """The fields at a payload path, with whose they are; without a bound concept those of the namespace's."""
        concept = self.concept
        if concept is not None:
            for field in members_of(fields_of(concept), path):
                yield field, f"concept {concept.name}"
            return
        file = self.index.files.get(self.path)
        seen: set[str] = set()
        for declared in self.index.of_kinds("concept"):
            if file is None or declared.namespace == file.namespace:
                for field in members_of(fields_of(declared), path):
                    if field.name not in seen:
                        seen.add(field.name)
                        yield field, f"concept {declared.name}"

    def arguments(self) -> Iterator[Entry]:
        """The declared arguments."""
        for local in self.place.args:
            yield field_entry(local.field, "argument", kind="argument", span=local.span)

    def callable(self, name: str) -> Declared | None:
        """The construct that a call names; a step's target also without its kind in front."""
        kind, _, target = name.rpartition(" ")
        if kind == "automation":
            return self.index.find(target, ("automations",), self.path)
        found = self.index.find(target, _CALLS, self.path)
        if found is None and kind:
            found = self.index.find(kind + target[:1].upper() + target[1:], _CALLS, self.path)
        return found

    # --- members of paths --------------------------------------------------------------------------------------------

    def members(self, chain: tuple[str, ...]) -> Iterator[Entry]:
        """What may follow the ``.`` of a path."""
        if not chain:
            yield from word_entries(ACCESSOR_WORDS, "property", rank=20)
            return
        root, rest = chain[0], chain[1:]
        match root:
            case "payload":
                yield from self._payload(rest)
            case "row":
                yield from self._row(rest)
            case "actor":
                yield from _actor(rest)
            case "args":
                yield from self._args(rest)
            case "event":
                yield from self._event(rest)
            case "steps":
                yield from self._steps(rest)
            case _:
                yield from self._binding(root, rest)

    def _payload(self, path: tuple[str, ...]) -> Iterator[Entry]:
        for field, owner in self.payload_fields(path):
            yield field_entry(field, owner)

    def _row(self, path: tuple[str, ...]) -> Iterator[Entry]:
        if not path:
            yield from word_entries(INTRINSIC_WORDS, "property", rank=10)
        elif path[0] == "payload":
            yield from self._payload(path[1:])

    def _args(self, path: tuple[str, ...]) -> Iterator[Entry]:
        if not path:
            yield from self.arguments()
            if self.place.header is not None and self.place.header.kind == "automation":
                yield from word_entries(EVENT_WORDS, "property", rank=20)
            return
        fields = tuple(local.field for local in self.place.args)
        for field in members_of(fields, path):
            yield field_entry(field, "argument", kind="argument")
        found = member_of(fields, path)
        if path == ("event",) and found is not None and found.fields is None:
            yield from word_entries(EVENT_WORDS, "property", rank=10)

    def _event(self, path: tuple[str, ...]) -> Iterator[Entry]:
        if not path:
            yield from word_entries(EVENT_WORDS, "property", rank=10)
        elif path[0] == "actor":
            yield from _actor(path[1:])
        elif path[0] == "payload" and self.trigger_concept is not None:
            yield from self._row_of(self.trigger_concept, path[1:])

    def _steps(self, path: tuple[str, ...]) -> Iterator[Entry]:
        if not path:
            for name, span in self.steps():
                yield name_entry(name, "binding", "a step", target=Target("step", span))
        elif len(path) == 1:
            yield name_entry("result", "property", "What the step yielded.")

    def steps(self) -> Iterator[tuple[str, ast.Span]]:
        """The steps of the automation around the place."""
        tokens = self.place.document.tokens
        first, stop = self.place.declaration
        for index in range(first, stop - 1):
            if tokens[index].value == "step" and tokens[index + 2].kind == "{" and tokens[index + 1].kind == "IDENT":
                name = tokens[index + 1]
                yield name.value, self.place.document.span(name.start, name.end)

    # --- bindings ----------------------------------------------------------------------------------------------------

    def bindings(self) -> Iterator[Entry]:
        """The names that the body around the place binds."""
        seen: set[str] = set()
        tokens = self.place.document.tokens
        first, stop = self.place.declaration
        for index in range(first, stop):
            token = tokens[index]
            if token.kind == "IDENT" and tokens[index + 1].kind == ":=" and token.value not in seen:
                seen.add(token.value)
                span = self.place.document.span(token.start, token.end)
                yield name_entry(token.value, "binding", "a binding of this body", target=Target("binding", span))

    def _binding(self, root: str, path: tuple[str, ...]) -> Iterator[Entry]:
        bound = self._bound(root, _BINDING_DEPTH)
        if bound is None:
            yield from word_entries(ACCESSOR_WORDS, "property", rank=20)
        elif bound.path is not None:
            yield from self._row_of(bound.concept, (*bound.path, *path))
        elif not path:
            yield from word_entries(ACCESSOR_WORDS, "property", rank=10)
        elif path[0].lower() in _ONE_ROW:
            yield from self._row_of(bound.concept, path[1:])

    def _row_of(self, concept: Declared, path: tuple[str, ...]) -> Iterator[Entry]:
        """The members of a row: fields without ``payload.`` too."""
        inner = path[1:] if path[:1] == ("payload",) else path
        for field in members_of(fields_of(concept), inner):
            yield field_entry(field, f"concept {concept.name}")
        if not path:
            yield from word_entries(INTRINSIC_WORDS, "property", rank=20)

    def _bound(self, name: str, depth: int) -> _Bound | None:
        """What a binding holds, as far as its value is a call of a query or mutation, or a path into one."""
        tokens = self.place.document.tokens
        first, stop = self.place.declaration
        for index in range(first, stop - 2):
            if tokens[index].value == name and tokens[index + 1].kind == ":=":
                return self._value(index + 2, depth)
        return None

    def _value(self, at: int, depth: int) -> _Bound | None:
        """What the value that begins at a token is."""
        tokens = self.place.document.tokens
        if tokens[at].value == "range" and depth:
            found = self._bound(tokens[at + 1].value, depth - 1)
            return _Bound(found.concept, ()) if found else None
        target = self.index.find(tokens[at].value, _CALLS, self.path)
        if target is not None and isinstance(target.decl, ast.QueryDecl | ast.MutationDecl):
            concept = self.index.concept(target.decl.concept, target.file.path)
            return _Bound(concept, None) if concept else None
        if tokens[at + 1].kind == "." and depth:
            found = self._bound(tokens[at].value, depth - 1)
            return _member(found, self._segments(at + 1)) if found else None
        return None

    def _segments(self, at: int) -> tuple[str, ...]:
        """The names of ``.a().b.c`` from its first point on."""
        tokens = self.place.document.tokens
        names: list[str] = []
        while tokens[at].kind == "." and tokens[at + 1].kind == "IDENT":
            names.append(tokens[at + 1].value)
            at += 2
            if tokens[at].kind == "(" and tokens[at + 1].kind == ")":
                at += 2
        return tuple(names)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a binding holds: rows of a concept, or with a ``path`` one row or what that leads to in it."""

    concept: Declared
    path: tuple[str, ...] | None


def _member(bound: _Bound, names: tuple[str, ...]) -> _Bound | None:
    if bound.path is not None:
        return _Bound(bound.concept, (*bound.path, *names))
    return _Bound(bound.concept, names[1:]) if names and names[0].lower() in _ONE_ROW else None


def _actor(path: tuple[str, ...]) -> Iterator[Entry]:
    if not path:
        yield from word_entries(ACTOR_WORDS, "property", rank=10)
    elif path == ("config",):
        for key in sorted(CONFIG_KEYS):
            yield name_entry(key, "property", "configuration of the node")
