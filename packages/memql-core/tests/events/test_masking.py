"""Secrets of payloads: where they stand, and what is left when they are hidden."""

from __future__ import annotations

from typing import Any

import pytest

from memql.events.masking import ConceptMask, SecretMask, secret_paths
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources

TREE = """
@rowAuthz(public)
concept safe {
  label string
  pin string @secret
  place { city string  door { code string @secret  colour string } }
  whole @secret { a string  b string @secret }
  keys []object { door string  pin string @secret }
  kind enum("home", "office")
  detail object @variant(discriminator="kind") { home { alarm string @secret } office { desks int } }
}

@rowAuthz(public)
concept plain { label string }
"""
CONCEPT = "v1:lab:safe"


@pytest.fixture(scope="module")
def tree() -> Catalog:
    return load_tree(read_sources().over(Sources({"lab/concepts.memql": TREE}))).require()


def test_secret_fields_are_found_in_blocks_lists_and_variants(tree: Catalog) -> None:
    assert secret_paths(tree.concepts[CONCEPT]) == (
        ("pin",),
        ("place", "door", "code"),
        ("whole",),
        ("keys",),
        ("detail", "alarm"),
    )


def test_secrets_are_hidden_in_a_copy(tree: Catalog) -> None:
    payload: dict[str, Any] = {
        "label": "x",
        "pin": "1234",
        "place": {"city": "Bern", "door": {"code": "77", "colour": "red"}},
        "whole": {"a": "1", "b": "2"},
        "keys": [{"door": "front", "pin": "9"}],
        "kind": "home",
        "detail": {"alarm": "42"},
    }
    before = repr(payload)
    assert ConceptMask(tree.concepts[CONCEPT])(payload) == {
        "label": "x",
        "pin": "***",
        "place": {"city": "Bern", "door": {"code": "***", "colour": "red"}},
        "whole": "***",
        "keys": "***",
        "kind": "home",
        "detail": {"alarm": "***"},
    }
    assert repr(payload) == before


def test_what_is_missing_or_malformed_stays_so(tree: Catalog) -> None:
    mask = ConceptMask(tree.concepts[CONCEPT])
    assert mask({"label": "x", "place": "nowhere"}) == {"label": "x", "place": "nowhere"}


def test_a_payload_without_secrets_is_handed_on_as_it_is(tree: Catalog) -> None:
    mask, payload = SecretMask(lambda: tree), {"label": "x", "pin": "1234"}
    assert mask("v1:lab:plain", payload) is payload
    assert mask("v1:nobody:knows", payload) is payload
    assert mask(CONCEPT, payload)["pin"] == "***"
