"""The rules of payloads, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.engine.write.payloads import PayloadRules, deep_merge, without_nulls
from memql.errors import Code, MemqlError
from memql.lang.catalog import Catalog

from .conftest import tree

members = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)

SITES = """
concept site {
  name string! @immutable
  kind enum("home", "office")!
  place {
    city string! @immutable
    floor int @default("0")
    keys []object { label string!  copies int @default("1") }
  }
  detail object @variant(discriminator="kind") {
    home { rooms int @default("3") }
    office { desks int!  code string @secret }
  }
}
"""


@pytest.fixture(scope="module")
def sites() -> PayloadRules:
    catalog: Catalog = tree({"ops/sites.memql": SITES})
    return PayloadRules(catalog.concepts["v1:ops:site"])


def has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(member is None or has_null(member) for member in value.values())
    return isinstance(value, list) and any(has_null(item) for item in value)


@given(members)
def test_dropping_nulls_leaves_none_in_objects_and_is_done_once(value: dict[str, Any]) -> None:
    cleaned = without_nulls(value)
    assert not has_null(cleaned)
    assert without_nulls(cleaned) == cleaned


@given(members, members)
def test_a_deep_merge_has_the_change_over_the_base(base: dict[str, Any], change: dict[str, Any]) -> None:
    base = without_nulls(base)
    merged = deep_merge(base, change)
    assert not has_null(merged)
    for name in base.keys() | change.keys():
        if name in change and change[name] is None:
            assert name not in merged
        elif name not in change:
            assert merged[name] == base[name]
        elif not isinstance(change[name], dict):
            assert merged[name] == without_nulls(change[name])
    assert deep_merge(merged, change) == merged


@given(members)
def test_merging_nothing_changes_nothing(base: dict[str, Any]) -> None:
    base = without_nulls(base)
    assert deep_merge(base, {}) == base


def test_defaults_reach_into_present_blocks_lists_and_the_chosen_variant(sites: PayloadRules) -> None:
    payload = {
        "name": "A",
        "kind": "home",
        "place": {"city": "X", "keys": [{"label": "k"}, {"label": "l", "copies": 2}]},
        "detail": {},
    }
    completed = sites.complete(payload)
    assert completed["place"] == {
        "city": "X",
        "floor": 0,
        "keys": [{"label": "k", "copies": 1}, {"label": "l", "copies": 2}],
    }
    assert completed["detail"] == {"rooms": 3}
    assert payload["detail"] == {}
    assert sites.complete(completed) == completed
    sites.check(completed)


def test_defaults_of_absent_blocks_are_not_applied(sites: PayloadRules) -> None:
    assert sites.complete({"name": "A", "kind": "office"}) == {"name": "A", "kind": "office"}


def test_a_variant_is_held_to_its_branch(sites: PayloadRules) -> None:
    with pytest.raises(MemqlError) as caught:
        sites.check({"name": "A", "kind": "office", "detail": {"rooms": 1}})
    assert caught.value.code is Code.VALIDATION_FAILED
    assert {one["path"] for one in caught.value.details["violations"]} == {"detail.desks", "detail.rooms"}


def test_nested_immutable_fields_hold_once_set(sites: PayloadRules) -> None:
    before = {"name": "A", "kind": "home", "place": {"city": "X"}}
    sites.check_immutable({"name": "A", "kind": "home"}, before)
    sites.check_immutable(before, {**before, "kind": "office"})
    for after in ({**before, "place": {"city": "Y"}}, {"name": "A", "kind": "home"}):
        with pytest.raises(MemqlError, match=r"place\.city"):
            sites.check_immutable(before, after)


def test_secrets_in_variants_are_masked_without_touching_the_payload(sites: PayloadRules) -> None:
    payload = {"name": "A", "kind": "office", "detail": {"desks": 1, "code": "1234"}}
    assert sites.mask(payload)["detail"] == {"desks": 1, "code": "***"}
    assert payload["detail"] == {"desks": 1, "code": "1234"}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, Code.MISSING_REQUIRED_FIELDS),
        ({"name": 1, "kind": "home"}, Code.INVALID_FIELD_TYPE),
        ({"name": "A", "kind": 5}, Code.INVALID_FIELD_TYPE),
        ({"name": 1}, Code.VALIDATION_FAILED),
        ({"name": "A", "kind": "barn"}, Code.VALIDATION_FAILED),
    ],
)
def test_only_absences_only_types_or_anything_else(sites: PayloadRules, payload: dict[str, Any], code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        sites.check(payload)
    assert caught.value.code is code


def test_a_misspelt_enum_value_is_suggested(sites: PayloadRules) -> None:
    with pytest.raises(MemqlError, match="did you mean 'office'"):
        sites.check({"name": "A", "kind": "ofice"})


def test_an_error_about_a_secret_field_does_not_repeat_its_value(sites: PayloadRules) -> None:
    with pytest.raises(MemqlError) as caught:
        sites.check({"name": "A", "kind": "office", "detail": {"desks": 1, "code": 987654321}})
    assert "987654321" not in str(caught.value.to_json())
