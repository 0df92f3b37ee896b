"""The language reference page, made from the tables the checker itself runs on.

``python -m memql.lang.reference > docs/language-reference.md`` writes it; a test holds the committed page to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import resources

from memql.lang.annotations import ANNOTATIONS, AnnotationRow, signature
from memql.lang.codes import CODES
from memql.lang.functions import (
    ACCESSORS,
    ACTOR_FIELDS,
    CONFIG_KEYS,
    DIRECTIVES,
    ENGINE_NAMES,
    FUNCTIONS,
    INTRINSICS,
    RELATION_FUNCTIONS,
)
from memql.lang.schemas import SCALARS

__all__ = ["reference"]

_INTRODUCTION = """\
# Language reference

This page is generated from the grammar and the tables that the parser and the checker run on: do not edit it, run
`python -m memql.lang.reference > docs/language-reference.md`.
"""
_PLACES = {"F": "filter", "W": "write, call argument", "L": "body, step", "J": "projection"}


def reference() -> str:
    """The whole page, as Markdown."""
    parts = (_INTRODUCTION, *_types(), *_annotations(), *_functions(), *_names(), *_codes(), *_grammar())
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _types() -> Iterator[str]:
    yield "## Types\n"
    rows = [(f"`{name}`", _schema(dict(schema))) for name, schema in SCALARS.items()]
    rows += [
        ('`enum("a", "b")`', "one of the texts"),
        ("`[]T`", "a list of T; `array` is `[]any`"),
        ("`map(string, T)`, `map[string]T`", "an object whose values are T"),
        ("`name { .. }`", "an object with exactly these fields; `[]object { .. }` is a list of such"),
    ]
    yield from _table(("type", "JSON Schema"), rows)


def _schema(schema: dict[str, str]) -> str:
    if not schema:
        return "anything"
    return ", ".join(f"{key} `{value}`" for key, value in schema.items())


def _annotations() -> Iterator[str]:
    yield "## Annotations\n"
    rows = (
        (f"`{signature(row)}`", _targets(row), row.summary + (" Repeatable." if row.repeatable else ""))
        for row in sorted(ANNOTATIONS, key=lambda row: (row.name.lower(), sorted(row.targets)))
    )
    yield from _table(("annotation", "stands on", "effect"), rows)


def _targets(row: AnnotationRow) -> str:
    known = {target for one in ANNOTATIONS for target in one.targets}
    return "everything" if row.targets == known else ", ".join(sorted(row.targets))


def _functions() -> Iterator[str]:
    yield "## Functions\n"
    rows = (
        (f"`{one.signature}`", "; ".join(_PLACES[place] for place in one.places), one.summary)
        for one in FUNCTIONS.values()
    )
    yield from _table(("function", "stands in", "meaning"), rows)


def _names() -> Iterator[str]:
    yield "## Names\n"
    yield from _table(
        ("set", "names"),
        (
            ("of the engine", _code(sorted(ENGINE_NAMES))),
            ("of every row", _code(INTRINSICS)),
            ("of the actor", _code(f"actor.{name}" for name in ACTOR_FIELDS)),
            ("of `actor.config`", _code(sorted(CONFIG_KEYS))),
            ("directives of raw queries", _code(sorted(DIRECTIVES))),
            ("relationship functions", _code(sorted(RELATION_FUNCTIONS))),
            ("of results, also capitalised", _code(f".{name}()" for name in sorted(ACCESSORS))),
        ),
    )


def _codes() -> Iterator[str]:
    yield "## Codes of findings\n"
    yield from _table(
        ("code", "severity", "given for"),
        ((f"`{row.code}`", row.severity, row.summary) for row in sorted(CODES.values(), key=lambda row: row.code)),
    )


def _grammar() -> Iterator[str]:
    text = resources.files("memql.lang").joinpath("grammar.lark").read_text(encoding="utf-8")
    yield "## Grammar\n"
    yield "```lark"
    yield text.rstrip()
    yield "```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
