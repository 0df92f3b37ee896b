"""What a name at a place may be: one form that completions, hovers and definitions are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from memql.lang import ast
from memql.lang.annotations import AnnotationRow
from memql.lang.annotations import signature as annotation_signature
from memql.lang.catalog import Catalog
from memql.lang.checker.tree import Declared
from memql.lang.functions import Function
from memql.lang.sense import describe
from memql.lang.sense.index import fields_of
from memql.lang.sense.model import Target
from memql.lang.sense.vocabulary import Words

__all__ = [
    "Entry",
    "annotation_entry",
    "concept_id_entry",
    "construct_entry",
    "field_entry",
    "function_entry",
    "name_entry",
    "word_entries",
]

_CALLABLE: Final = frozenset({"query", "mutation", "logic", "builtin"})


@dataclass(frozen=True, slots=True)
class _FieldOf:
    field: ast.FieldDecl
    owner: str


@dataclass(frozen=True, slots=True)
class _Word:
    form: str
    meaning: str


_About: TypeAlias = Declared | _FieldOf | Function | AnnotationRow | _Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One possible meaning of a name. ``rank``: lower is more likely."""

    label: str
    kind: str
    about: _About
    insert_text: str
    detail: str = ""
    documentation: str = ""
    rank: int = 50
    is_snippet: bool = False
    target: Target | None = None

    def markdown(self, catalog: Catalog) -> str:
        """What a hover shows."""
        match self.about:
            case Declared() as declared:
                return describe.construct_markdown(declared, catalog)
            case _FieldOf(field, owner):
                return describe.field_markdown(field, owner)
            case Function() as function:
                return describe.function_markdown(function)
            case AnnotationRow() as row:
                return describe.annotation_markdown(row)
            case _Word(form, meaning):
                return describe.plain_markdown(form, meaning)


def construct_entry(declared: Declared, *, rank: int = 20, called: bool = False, label: str = "") -> Entry:
    """A construct. ``called``: as a call, with its required arguments as placeholders."""
    name = label or declared.name
    text = name
    if called and declared.kind in _CALLABLE:
        text = f"{name}({_placeholders(declared)})"
    return Entry(
        label=name,
        kind=declared.kind,
        about=declared,
        insert_text=text,
        detail=describe.construct_signature(declared),
        documentation=describe.construct_documentation(declared),
        rank=rank,
        is_snippet=text != name,
        target=Target(declared.kind, declared.span),
    )


def _placeholders(declared: Declared) -> str:
    required = [field for field in fields_of(declared) if describe.field_detail(field).endswith("!")]
    if not required:
        return "{ $0 }" if fields_of(declared) else ""
    return "{ " + ", ".join(f"{field.name}: ${number}" for number, field in enumerate(required, 1)) + " }"


def concept_id_entry(declared: Declared) -> Entry:
    """A concept by its id."""
    return Entry(
        label=declared.key,
        kind="concept",
        about=declared,
        insert_text=declared.key,
        detail=describe.construct_signature(declared),
        documentation=describe.construct_documentation(declared),
        rank=15,
        target=Target("concept", declared.span),
    )


def field_entry(
    field: ast.FieldDecl,
    owner: str,
    *,
    kind: str = "field",
    suffix: str = "",
    span: ast.Span | None = None,
    rank: int = 10,
) -> Entry:
    """A field or an argument; ``suffix`` follows its name when it is written as a key."""
    return Entry(
        label=field.name,
        kind=kind,
        about=_FieldOf(field, owner),
        insert_text=field.name + suffix,
        detail=describe.field_detail(field),
        documentation=describe.field_documentation(field),
        rank=rank,
        target=Target(kind, _name_span(field, span or field.span)),
    )


def _name_span(field: ast.FieldDecl, span: ast.Span) -> ast.Span:
    width = len(field.name)
    return ast.Span(
        span.file, span.line, span.column, span.line, span.column + width, span.start, span.start + width
    )  # fmt: skip


def function_entry(function: Function, *, rank: int = 30) -> Entry:
    """A function of the language."""
    text = f"{function.name}($0)" if function.high != 0 else f"{function.name}()"
    return Entry(
        label=function.name,
        kind="function",
        about=function,
        insert_text=text,
        detail=function.signature,
        documentation=function.summary,
        rank=rank,
        is_snippet="$" in text,
    )


def annotation_entry(row: AnnotationRow, *, rank: int = 20) -> Entry:
    """An annotation, after its ``@``."""
    needs = any(param.required for param in row.params) or len(row.params) > 1
    quoted = needs and row.params[0].positional and row.params[0].kind in ("string", "strings", "reference")
    inner = '"$0"' if quoted else "$0"
    return Entry(
        label=row.name,
        kind="annotation",
        about=row,
        insert_text=f"{row.name}({inner})" if needs else row.name,
        detail=annotation_signature(row),
        documentation=row.summary,
        rank=rank,
        is_snippet=needs,
    )


def name_entry(
    name: str, kind: str, meaning: str, *, rank: int = 10, insert: str = "", target: Target | None = None
) -> Entry:
    """Something that is only a name: a binding, a step, a namespace, a value."""
    text = insert or name
    return Entry(
        label=name,
        kind=kind,
        about=_Word(name, meaning),
        insert_text=text,
        detail=meaning,
        rank=rank,
        is_snippet="$" in text,
        target=target,
    )


def word_entries(words: Words, kind: str, *, rank: int, only: Iterable[str] | None = None) -> Iterator[Entry]:
    """Words of the language with their forms."""
    wanted = None if only is None else frozenset(only)
    for word, (form, meaning) in words.items():
        if wanted is None or word in wanted:
            yield Entry(
                label=word,
                kind=kind,
                about=_Word(word, meaning),
                insert_text=form,
                documentation=meaning,
                rank=rank,
                is_snippet="$" in form,
            )
