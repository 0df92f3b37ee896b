"""Whatever the text and wherever the cursor: an answer, without raising."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.lang.catalog import Catalog
from memql.lang.loader import load_tree, packaged_sources
from memql.lang.sense import complete, definition, diagnose, hover, signature_help, tokenize

PIECES = (
    "query", "mutation", "concept", "automation", "logic", "use", "shape", "spec", "step", "args", "body", "filter",
    "insert", "sort", "if", "for", "range", "when", "user", "a", "payload", "actor", "event", "v1:identity:user", "v1:",
    "@", "@trigger", "@filter", "{", "}", "(", ")", "[", "]", ".", "?.", ",", ";", ":", ":=", "==", "!", "\n", " ", '"',
    '"payload.', "//", "/*", "///", "1", "1.5", "$x", "\\", "\U0001f600", "\ufeff", "\r\n", "canonicalId", "si",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.lists(st.sampled_from(PIECES)).map("".join)
PLACES = st.integers(-1, 12), st.integers(-1, 200)
PATHS = st.sampled_from(["", "identity/concepts.memql", "new/file.memql", "x.memql", ".memql", "/a/b/../c.memql", "\\"])
QUESTIONS = (complete, hover, definition, signature_help)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_tree(packaged_sources()).require()


@given(TEXTS | st.text(max_size=60), *PLACES, PATHS)
@settings(max_examples=150, deadline=None)
def test_any_question_about_any_text_is_answered(
    catalog: Catalog, text: str, line: int, column: int, path: str
) -> None:
    for question in QUESTIONS:
        question(text, line, column, path, catalog)


@given(TEXTS | st.text(max_size=60), PATHS)
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_diagnosed(catalog: Catalog, text: str, path: str) -> None:
    for finding in diagnose(text, path, catalog):
        assert 0 <= finding.span.start <= finding.span.end <= len(text)


@given(TEXTS | st.text(max_size=200))
def test_tokens_are_pieces_of_the_text_in_order(text: str) -> None:
    end = 0
    for token in tokenize(text):
        assert end <= token.span.start
        end = token.span.end
        assert text[token.span.start : end] == token.literal


@given(st.sampled_from(["identity/concepts.memql", "common/specs.memql"]), st.data())
@settings(max_examples=60, deadline=None)
def test_completions_replace_the_word_before_the_cursor(catalog: Catalog, path: str, data: st.DataObject) -> None:
    whole = catalog.sources.files[path]
    text = whole[: data.draw(st.integers(0, len(whole)))]
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    for item in complete(text, line, column, path, catalog):
        assert item.span.end == len(text)
        assert text[item.span.start :].lower() in item.label.lower()


@pytest.mark.parametrize(
    "piece", ["(", "a()", "a.", "@a(b=c) ", "{", 'x := f({a: "1"})\n', "use a.b.{ c }\n", "a := a.b\n"]
)
def test_the_cost_of_an_answer_does_not_explode(piece: str, catalog: Catalog) -> None:
    def cost(times: int) -> float:
        text = "logic l { body { " + piece * times
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        begun = time.process_time()
        for question in QUESTIONS:
            question(text, line, column, "new/file.memql", catalog)
        return time.process_time() - begun

    small = cost(1_000)
    assert cost(8_000) < 8 * 4 * max(small, 0.02)
