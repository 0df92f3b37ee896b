"""Ids derived from content."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.ids import canonical_json, content_id

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
@example({'\x7f\x00\x1f\b\f\n\r\t"\\/': '\u2028\U0001f600\x7f\x01\x1f\b\f\n\r\t"\\/'})
@example({"\ue000": 1, "\U00010000": 2, "a": [1, -1, 0, True, None]})
def test_the_canonical_form_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


def test_a_content_id_hashes_concept_payload_and_salt() -> None:
    body = b'{"concept":"v1:ops:route","payload":{"day":"2026-03-02"}}'
    assert content_id("v1:ops:route", {"day": "2026-03-02"}) == hashlib.sha256(body).hexdigest()
    assert content_id("v1:ops:route", {"day": "2026-03-02"}, "salt") != hashlib.sha256(body).hexdigest()


def test_a_payload_without_canonical_form_needs_an_id() -> None:
    with pytest.raises(MemqlError) as caught:
        content_id("v1:ops:route", {"n": 2**60})
    assert caught.value.code is Code.VALIDATION_FAILED
