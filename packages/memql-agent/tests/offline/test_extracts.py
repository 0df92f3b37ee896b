"""Titles and summaries taken out of a text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from memql.agent.extracts import central, sentences_of, shortened


def test_sentences_end_at_stops_and_lines_and_stand_once() -> None:
    text = "First one. Second   one!\nA line without a stop\n\n...\nFirst one. Und noch einer?"
    assert sentences_of(text) == ["First one.", "Second one!", "A line without a stop", "Und noch einer?"]


def test_the_most_central_come_in_the_order_of_the_text() -> None:
    vectors = np.asarray([[1, 0], [0, 1], [0.9, 0.1], [1, 0]], dtype=np.float32)
    assert central(vectors, 2) == [0, 3]
    assert central(vectors, 9) == [0, 1, 2, 3]


@given(text=st.text(max_size=300), most=st.integers(2, 80))
def test_a_shortened_text_is_short_and_a_beginning(text: str, most: int) -> None:
    found = shortened(text, most)
    assert len(found) <= most
    assert text.strip().startswith(found.removesuffix("…"))


@given(text=st.text(max_size=500))
def test_a_sentence_says_nothing_that_the_text_does_not(text: str) -> None:
    assert all(word in text for one in sentences_of(text) for word in one.split())
