"""Cursors are opaque and signed; kept results end with the next write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.engine.caching import AnswerCache
from memql.engine.read.cursors import CursorCodec
from memql.engine.result import Result
from memql.errors import Code, MemqlError

from .conftest import U1, U2, Lab

KEYS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=4)


@given(KEYS, st.binary(max_size=40))
def test_a_cursor_gives_back_the_keys_it_was_made_of(keys: list[str | None], identity: bytes) -> None:
    codec = CursorCodec(b"0123456789abcdef")
    assert codec.decode(codec.encode(keys, identity), identity, len(keys)) == keys


@given(KEYS, st.integers(0, 10_000), st.sampled_from("ABCxyz019-_=!"))
def test_a_changed_cursor_is_refused(keys: list[str | None], place: int, letter: str) -> None:
    codec = CursorCodec(b"0123456789abcdef")
    cursor = codec.encode(keys, b"query")
    at = place % len(cursor)
    changed = cursor[:at] + letter + cursor[at + 1 :]
    if _same_bytes(changed, cursor):
        return
    with pytest.raises(MemqlError) as caught:
        codec.decode(changed, b"query", len(keys))
    assert caught.value.code is Code.INVALID_ARGUMENT


def _same_bytes(one: str, other: str) -> bool:
    """The last character of base64 has bits that mean nothing."""
    return one[:-1] == other[:-1]


def test_a_cursor_of_another_query_key_or_order_is_refused() -> None:
    codec, other = CursorCodec(b"0123456789abcdef"), CursorCodec(b"fedcba9876543210")
    cursor = codec.encode(["a", "b"], b"query")
    for reader, given_cursor, identity, keys in (
        (codec, cursor, b"another", 2),
        (other, cursor, b"query", 2),
        (codec, cursor, b"query", 3),
        (codec, "", b"query", 2),
        (codec, "äöü", b"query", 2),
    ):
        with pytest.raises(MemqlError):
            reader.decode(given_cursor, identity, keys)
    with pytest.raises(ValueError, match="16 bytes"):
        CursorCodec(b"short")


def test_kept_results_expire_and_end_with_a_write() -> None:
    now = 0.0
    cache = AnswerCache(clock=lambda: now)
    result = Result(data=[b"1"])
    cache.keep(cache.begin("k"), ["a", "b"], result, 1000.0)
    assert cache.get("k") is result
    cache.evict("b")
    assert cache.get("k") is None
    cache.keep(cache.begin("k"), ["a"], result, 1000.0)
    now = 299.0
    assert cache.get("k") is result
    now = 300.0
    assert cache.get("k") is None


def test_a_result_read_before_a_write_is_not_kept_after_it() -> None:
    cache = AnswerCache()
    ticket, other = cache.begin("k"), cache.begin("o")
    cache.evict("a")
    cache.keep(ticket, ["b", "a"], Result(), 60.0)
    cache.keep(other, ["b"], Result(), 60.0)
    assert cache.get("k") is None
    assert cache.get("o") is not None
    ticket = cache.begin("k")
    cache.clear()
    cache.keep(ticket, ["a"], Result(), 60.0)
    assert cache.get("k") is None
    assert not len(cache)


def test_the_cache_is_bounded_by_entries_and_rows() -> None:
    cache = AnswerCache(max_entries=2, max_size=10)
    for key in "abc":
        cache.keep(cache.begin(key), ["x"], Result(), 60.0)
    assert [cache.get(key) is None for key in "abc"] == [True, False, False]
    cache.keep(cache.begin("big"), ["x"], Result(), 60.0, size=10)
    assert [cache.get(key) is None for key in ("b", "c", "big")] == [True, True, False]


@pytest.mark.anyio
async def test_reads_under_cache_are_kept_per_caller_until_a_row_is_written(lab: Lab) -> None:
    query = lab.catalog.queries["queryCounted"]

    async def count(actor: object = U1) -> int | None:
        return (await lab.reader.query(query, {}, lab.context(actor))).meta.count  # type: ignore[arg-type]

    await lab.put("v1:lab:sample", "s1", {"alive": True})
    assert await count() == 1
    await lab.put("v1:lab:sample", "s2", {"alive": True})
    assert await count() == 1
    assert await count(U2) == 2
    lab.cache.evict("v1:lab:notice")
    assert await count() == 1
    lab.cache.evict("v1:lab:sample")
    assert await count() == 2


@pytest.mark.anyio
async def test_a_concept_and_a_filter_can_ask_for_caching(lab: Lab) -> None:
    await lab.put("v1:lab:notice", "n1", {"text": "x"})
    kept, cached, never = (
        "concept==v1:lab:notice",
        "concept @cache(60) == v1:lab:sample",
        "concept @cache(0) == v1:lab:notice",
    )
    await lab.put("v1:lab:sample", "s1", {})
    for text in (kept, cached, never):
        assert len(await lab.shorts(text)) == 1
    await lab.put("v1:lab:notice", "n2", {"text": "y"})
    await lab.put("v1:lab:sample", "s2", {})
    assert [len(await lab.shorts(text)) for text in (kept, cached, never)] == [1, 1, 2]
