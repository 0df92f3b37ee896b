"""The operators of the language, in process."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.engine.values.operators import (
    ARITHMETIC,
    contains,
    equal,
    equal_instants,
    has,
    negate,
    order,
    order_instants,
    starts_with,
    truth,
)
from memql.engine.values.search import matches
from memql.errors import Code, MemqlError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, "1", False),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, False, False),
        (None, "", False),
        ([1, [True]], [1.0, [True]], True),
        ([1], [True], False),
        ({"a": 1, "b": None}, {"a": 1.0}, True),
        ({"a": 1}, {"a": 1, "b": 0}, False),
        ({"a": 1}, [1], False),
        ("2026-03-05T00:00:00Z", "2026-03-05T01:00:00+01:00", False),
    ],
)
def test_equality_is_deep_and_strict_about_types(left: Any, right: Any, same: bool) -> None:
    assert equal(left, right) is same
    assert equal(right, left) is same


@given(json_values)
def test_every_value_equals_itself(value: Any) -> None:
    assert equal(value, value)


@given(json_values, json_values)
def test_equality_is_symmetric(left: Any, right: Any) -> None:
    assert equal(left, right) is equal(right, left)


def test_date_times_are_equal_as_moments_when_one_side_is_declared_so() -> None:
    assert equal_instants("2026-03-05T00:00:00Z", "2026-03-05T01:00:00+01:00")
    assert equal_instants("2026-03-05", "2026-03-05T00:00:00.000000Z")
    assert equal_instants("soon", "soon")
    assert not equal_instants("soon", "2026-03-05T00:00:00Z")


@pytest.mark.parametrize(
    ("left", "right"), [(None, 1), (1, None), ("a", 1), (True, False), ([1], [2]), ({}, {}), (1, True)]
)
def test_ordering_of_null_mixed_or_unordered_values_is_false(left: Any, right: Any) -> None:
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        assert not order(compare, left, right)


def test_texts_are_ordered_by_code_point() -> None:
    assert order(operator.lt, "Z", "a")
    assert order(operator.lt, "\uffff", "\U00010000")


def test_a_text_that_is_no_date_time_never_orders_with_moments() -> None:
    assert order_instants(operator.lt, "2026-03-05T00:00:00Z", "2026-03-05T00:00:00.000001Z")
    assert not order_instants(operator.lt, "garbage", "2026-03-05T00:00:00Z")
    assert not order_instants(operator.gt, "garbage", "2026-03-05T00:00:00Z")


def test_in_looks_for_an_equal_element_and_a_left_list_for_a_common_one() -> None:
    assert contains(1, [2, 1.0])
    assert contains([5, 2], [1, 2])
    assert not contains([], [1])
    assert not contains("a", "abc")
    assert not contains(1, None)
    assert contains(None, [None])


def test_has_looks_into_the_list_on_the_left() -> None:
    assert has(["x", {"a": 1}], {"a": 1.0})
    assert not has("xyz", "x")
    assert not has(None, None)


def test_a_blank_prefix_is_the_prefix_of_nothing() -> None:
    assert starts_with("abc", "ab")
    assert not starts_with("abc", "")
    assert not starts_with("  abc", " ")
    assert not starts_with(None, "a")


@pytest.mark.parametrize(
    ("op", "left", "right", "value"),
    [
        ("+", 1, 2, 3),
        ("+", 1, 2.5, 3.5),
        ("+", "a", "b", "ab"),
        ("*", 3, -2, -6),
        ("/", 3, 2, 1.5),
        ("/", 4, 2, 2.0),
        ("%", -7, 3, -1),
        ("%", 7, -3, 1),
        ("%", 7.5, 2, 1.5),
    ],
)
def test_arithmetic_keeps_ints_except_for_division(op: str, left: Any, right: Any, value: Any) -> None:
    result = ARITHMETIC[op](left, right)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [("+", 1, "a"), ("+", None, 1), ("-", "b", "a"), ("/", 1, 0), ("%", 1.5, 0), ("*", True, 2), ("*", 2**62, 4)],
)
def test_arithmetic_on_anything_else_is_an_invalid_argument(op: str, left: Any, right: Any) -> None:
    with pytest.raises(MemqlError) as caught:
        ARITHMETIC[op](left, right)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_conditions_are_booleans_or_null() -> None:
    assert truth(True)
    assert not truth(None)
    others: tuple[object, ...] = (0, "true", [])
    for value in others:
        with pytest.raises(MemqlError, match="condition"):
            truth(value)
    with pytest.raises(MemqlError):
        negate("x")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("boiler", True),
        ("BOILER repair", True),
        ("boiler valve", False),
        ("valve or repair", True),
        ('"annual boiler"', True),
        ('"boiler annual"', False),
        ("boiler -valve", True),
        ("boiler -repair", False),
        ("...", False),
        ("", False),
    ],
)
def test_matches_follows_the_web_search_syntax(query: str, found: bool) -> None:
    assert matches("Annual boiler repair", query) is found
