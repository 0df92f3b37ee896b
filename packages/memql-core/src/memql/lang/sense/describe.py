"""What things are, in words: labels, details and Markdown for constructs, fields, functions and annotations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from memql.lang import ast
from memql.lang._flat import annotation_text, type_text
from memql.lang.annotations import AnnotationRow
from memql.lang.annotations import signature as annotation_signature
from memql.lang.catalog import Catalog
from memql.lang.checker.tree import Declared
from memql.lang.functions import Function
from memql.lang.sense.index import fields_of

__all__ = [
    "PLACES",
    "annotation_markdown",
    "call_label",
    "construct_documentation",
    "construct_markdown",
    "construct_signature",
    "field_detail",
    "field_documentation",
    "field_label",
    "field_markdown",
    "function_markdown",
    "plain_markdown",
]

PLACES: Final = {"F": "filters", "W": "writes and call arguments", "L": "bodies and steps", "J": "projections"}
_CALLED: Final = frozenset({"query", "mutation", "logic", "builtin", "automation", "tool", "prompt"})
_BOUND: Final = (ast.QueryDecl, ast.MutationDecl, ast.SeedDecl, ast.ShapeDecl)


def field_label(field: ast.FieldDecl) -> str:
    """``name type!``."""
    return f"{field.name} {field_detail(field)}"


def field_detail(field: ast.FieldDecl) -> str:
    """The type of a field, with ``!`` when it must be given."""
    required = field.required or any(annotation.name == "required" for annotation in field.annotations)
    block = " {..}" if field.fields is not None else ""
    return f"{type_text(field.type) if field.type else 'object'}{block}{'!' if required else ''}"


def field_documentation(field: ast.FieldDecl) -> str:
    """What its author says about a field."""
    return field.doc or _described(field.annotations)


def field_markdown(field: ast.FieldDecl, owner: str) -> str:
    """A field: type, constraints, documentation, and whose it is."""
    marks = " ".join(annotation_text(one) for one in field.annotations if one.name != "description")
    return _markdown(f"{field_label(field)} {marks}".rstrip(), field_documentation(field), (owner,))


def construct_documentation(declared: Declared) -> str:
    """What its author says about a construct."""
    return declared.decl.doc or declared.marks.text("description")


def call_label(declared: Declared) -> str:
    """``name(argument type, ..)``."""
    return f"{declared.name}({', '.join(map(field_label, fields_of(declared)))})"


def construct_signature(declared: Declared) -> str:
    """How a construct is declared, in one line."""
    bound = f"{declared.decl.concept} " if isinstance(declared.decl, _BOUND) and declared.decl.concept else ""
    called = declared.kind in _CALLED
    return f"{declared.kind} {bound}{call_label(declared) if called else declared.name}"


def construct_markdown(declared: Declared, catalog: Catalog) -> str:
    """A construct: signature, documentation, fields, access, and where it stands."""
    lines = [f"- `{field_label(one)}` {field_documentation(one)}".rstrip() for one in fields_of(declared)]
    facts = [*_facts(declared, catalog), f"{declared.file.path}:{declared.span.line}"]
    return _markdown(construct_signature(declared), construct_documentation(declared), ("\n".join(lines), *facts))


def _facts(declared: Declared, catalog: Catalog) -> Iterable[str]:
    if declared.kind == "concept":
        yield f"id `{declared.key}`"
    callable_ = catalog.queries.get(declared.key) or catalog.mutations.get(declared.key)
    if callable_ is not None and callable_.file == declared.file.path:
        roles = f", role {', '.join(callable_.annotations.roles)}" if callable_.annotations.roles else ""
        yield f"access: {callable_.access}{roles}"
    if declared.marks.has("internal"):
        yield "internal: clients cannot call it"
    if declared.marks.has("deprecated"):
        yield f"deprecated: {declared.marks.text('deprecated')}".removesuffix(": ")
    if not declared.enabled:
        yield "not enabled"


def function_markdown(function: Function) -> str:
    """A function of the language: signature, meaning, and where it may stand."""
    places = ", ".join(PLACES[place] for place in function.places)
    return _markdown(function.signature, function.summary, (f"stands in {places}",))


def annotation_markdown(row: AnnotationRow) -> str:
    """An annotation: how it is written, what it does, and what it stands on."""
    targets = ", ".join(sorted(row.targets)) if len(row.targets) < 15 else "everything"
    return _markdown(annotation_signature(row), row.summary, (f"stands on: {targets}",))


def plain_markdown(code: str, text: str) -> str:
    """Anything else that has a form and a meaning."""
    return _markdown(code, text, ())


def _markdown(code: str, text: str, facts: Iterable[str]) -> str:
    return "\n\n".join(part for part in (f"```memql\n{code}\n```", text, *facts) if part)


def _described(annotations: Iterable[ast.Annotation]) -> str:
    for annotation in annotations:
        if annotation.name == "description" and annotation.args:
            value = annotation.args[0].value
            if isinstance(value, ast.Literal) and isinstance(value.value, str):
                return value.value
    return ""
