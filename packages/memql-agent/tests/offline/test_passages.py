"""What of a row can be quoted, and what stands around it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memql.agent.passages import WINDOW, Layout, label_of, passages_of, pointed_ids, windows
from memql.lang.loader import Sources, load_tree, read_sources

TREE = """
@rowAuthz(public) @displayCard(primary="name", status="size")
concept town { name string! size enum("small", "large") @default("small") }

@rowAuthz(public)
concept visit {
  townId string!
  title string!
  body string
  tags []string
  token string @secret
  vault object @secret { code string }
  kind enum("work", "fun") @default("fun")
  detail object @variant(discriminator="kind") {
    work { boss string! }
    fun { joke string! }
  }
  @relationship(type="references", field="townId", target=town)
}
"""
CATALOG = load_tree(read_sources().over(Sources({"t/concepts.memql": TREE}))).require()
TOWN, VISIT = (Layout.of(CATALOG.concepts[f"v1:t:{name}"]) for name in ("town", "visit"))
OSLO = {"id": "v1:t:town:oslo", "concept": "v1:t:town", "payload": {"name": "Oslo", "size": "large"}}


def visit(**payload: Any) -> dict[str, Any]:
    given_ = {"townId": "v1:t:town:oslo", "title": "A day out", "kind": "fun", **payload}
    return {"id": "v1:t:visit:v1", "concept": "v1:t:visit", "createdAt": "2026-01-01T00:00:00Z", "payload": given_}


def test_text_fields_are_strings_that_are_neither_secret_nor_a_pointer() -> None:
    assert set(VISIT.texts) == {("title",), ("body",), ("detail", "boss"), ("detail", "joke")}
    assert VISIT.enums == (("kind",),)
    assert list(VISIT.pointers) == [("townId",)]


def test_short_texts_of_a_row_are_one_passage_with_the_names_of_what_it_points_to() -> None:
    labels = {"v1:t:town:oslo": label_of(OSLO, TOWN, {})}
    assert labels["v1:t:town:oslo"] == ("Oslo", "large")
    (passage,) = passages_of(visit(detail={"joke": "Why did the chicken"}), VISIT, labels)
    assert (passage.field, passage.text) == ("detail.joke", "Why did the chicken")
    assert passage.context == ("A day out", "fun", "Oslo", "large")
    assert passage.whole == "Why did the chicken. A day out, fun, Oslo, large"


def test_a_long_text_is_cut_and_each_piece_keeps_the_context() -> None:
    sentences = " ".join(f"This is sentence number {n} of the story." for n in range(60))
    short, *pieces = passages_of(visit(body=sentences), VISIT, {})
    assert short.field == "title"
    assert len(pieces) > 2
    assert {(piece.field, piece.context) for piece in pieces} == {("body", ("A day out", "fun"))}
    assert all(piece.text.endswith(".") for piece in pieces)


def test_secrets_ids_and_hashes_are_never_quoted() -> None:
    row = visit(
        title="v1:t:town:oslo", body="f" * 64, token="the secret token", vault={"code": "the secret code"}, detail={}
    )
    assert passages_of(row, VISIT, {}) == []


@pytest.mark.parametrize("value", [None, "", "   ", 5, ["a"], {"joke": 1}, "1234 5678"])
def test_what_is_no_language_is_no_passage(value: Any) -> None:
    assert passages_of(visit(title=value, detail=value), VISIT, {}) == []


def test_a_text_with_a_long_address_in_it_is_language() -> None:
    body = f"The story is told at https://example.org/{'x' * 40} and nowhere else in so many words, or so they say."
    (passage,) = passages_of(visit(title=body), VISIT, {})
    assert passage.text == body


def test_pointers_give_full_ids_and_pass_over_what_is_no_id() -> None:
    (pointer,) = VISIT.pointers.values()
    assert pointed_ids(visit(townId="oslo"), pointer) == ["v1:t:town:oslo"]
    assert pointed_ids(visit(townId=["oslo", "", 5, "v1:t:town:rome", "no id!"]), pointer) == [
        "v1:t:town:oslo",
        "v1:t:town:rome",
    ]


@given(text=st.text(max_size=5000))
@example(text="x" * 4999)
@example(text=("word " * 400).strip())
def test_windows_keep_every_character_but_spaces_in_order(text: str) -> None:
    pieces = windows(text)
    assert len(pieces) <= 20
    assert all(0 < len(piece) <= WINDOW for piece in pieces)
    assert "".join("".join(piece.split()) for piece in pieces) == "".join(text.split())
