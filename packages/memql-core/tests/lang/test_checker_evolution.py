from __future__ import annotations

import pytest

from memql.lang.loader import Loaded, Sources, load_tree

BEFORE = 'a string b int c enum("x", "y") d { e string } f string @maxLength(9)'

BREAKING = (
    'b int c enum("x", "y") d { e string } f string @maxLength(9)',
    'a int b int c enum("x", "y") d { e string } f string @maxLength(9)',
    'a string b int c enum("x") d { e string } f string @maxLength(9)',
    'a string b int c enum("x", "y") d { g string } f string @maxLength(9)',
    'a string b int c enum("x", "y") d { e string } f string @maxLength(8)',
    'a string! b int c enum("x", "y") d { e string } f string @maxLength(9)',
    'a string b int c enum("x", "y") d { e string } f string @maxLength(9) g string!',
    'a string @pattern("x") b int c enum("x", "y") d { e string } f string @maxLength(9)',
)
HARMLESS = (
    'a string b float c enum("x", "y", "z") d { e string h int } f string @maxLength(10) g string',
    "a string b int c string d object f string",
    'a any b int c enum("x", "y") d { e string } f string @maxLength(9) g string! @default("q")',
)


def evolve(before: str, after: str, *, version: str = "1.0.0", rows: bool | None = True) -> Loaded:
    previous = load_tree(Sources({"ops/concepts.memql": f"concept c {{ {before} }}"})).require()
    text = f'@version("{version}") concept c {{ {after} }}'
    rows_exist = None if rows is None else lambda concept: concept == "v1:ops:c" and bool(rows)
    return load_tree(Sources({"ops/concepts.memql": text}), previous=previous, rows_exist=rows_exist)


@pytest.mark.parametrize("after", BREAKING)
def test_a_change_that_stored_rows_may_not_survive_is_refused(after: str) -> None:
    loaded = evolve(BEFORE, after, version="1.1.0")
    assert [(finding.severity, finding.code) for finding in loaded.findings] == [("error", "schema-breaking")]


@pytest.mark.parametrize("after", BREAKING)
def test_the_same_change_only_warns_while_there_are_no_rows(after: str) -> None:
    loaded = evolve(BEFORE, after, version="1.1.0", rows=False)
    assert [(finding.severity, finding.code) for finding in loaded.findings] == [("warning", "schema-breaking")]
    assert loaded.catalog is not None


def test_rows_are_taken_to_exist_when_nobody_can_say() -> None:
    assert evolve(BEFORE, BREAKING[0], rows=None).catalog is None


@pytest.mark.parametrize("after", HARMLESS)
def test_a_wider_schema_warns_until_the_version_says_so(after: str) -> None:
    assert [finding.code for finding in evolve(BEFORE, after).findings] == ["schema-changed"]
    assert evolve(BEFORE, after, version="1.1.0").findings == ()


def test_an_unchanged_schema_says_nothing() -> None:
    assert evolve(BEFORE, BEFORE).findings == ()


def test_a_new_major_is_another_concept() -> None:
    assert evolve(BEFORE, "z int!", version="2.0.0").findings == ()
