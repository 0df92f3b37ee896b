from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.client import Code, MemqlError, Result, Row
from memql.client._reads import is_read

NODE = b'{"id":"v1:ops:job:j1","payload":{"title":"Boiler","tags":["a","b"],"priority":1}}'


def test_rows_are_the_shaped_data_when_there_is_some() -> None:
    result = Result([b'{"data":[{"a":1},{"a":2}],"meta":{"count":2}}'])
    assert [row["a"] for row in result] == [1, 2]
    assert result.meta.count == 2


def test_a_bare_value_is_a_row_with_a_value() -> None:
    assert Result([b'{"data":[3]}']).single().int("value") == 3


def test_rows_of_a_bundle_are_its_roots_in_order() -> None:
    edge = b'{"type":"child","fromId":"x","toId":"a"}'
    frame = b'{"nodes":[{"id":"x"},{"id":"a"},{"id":"b"}],"rootIds":["b","a"],"edges":[' + edge + b"]}"
    result = Result([frame])
    assert [row.str("id") for row in result.rows] == ["b", "a"]
    assert len(result.nodes) == 3
    assert (result.edges[0].type, result.edges[0].depth) == ("child", 1)


def test_an_empty_result_has_no_rows() -> None:
    result = Result([b'{"meta":{"count":0,"took":1}}'])
    assert result.rows == []
    with pytest.raises(MemqlError) as raised:
        result.single()
    assert raised.value.code is Code.NOT_FOUND


def test_single_refuses_several_rows() -> None:
    with pytest.raises(MemqlError) as raised:
        Result([b'{"data":[1,2]}']).single()
    assert raised.value.code is Code.CONFLICT


def test_typed_readers_follow_dotted_paths() -> None:
    row = Result([b'{"nodes":[' + NODE + b"]}"]).single()
    assert row.str("payload.title") == "Boiler"
    assert row.str("payload.tags.1") == "b"
    assert row.int("payload.priority") == 1
    assert row.float("payload.priority") == 1.0
    assert row.list("payload.tags") == ["a", "b"]
    assert row.obj("payload").str("title") == "Boiler"


def test_what_is_absent_or_null_gives_the_default() -> None:
    row = Row({"a": None})
    assert (row.str("a"), row.int("b", 7), row.bool("c.d"), row.list("e"), dict(row.obj("f"))) == ("", 7, False, [], {})


@pytest.mark.parametrize(
    ("method", "value"),
    [("str", 1), ("int", "1"), ("int", 1.5), ("int", True), ("float", "x"), ("bool", 1), ("list", {}), ("obj", [])],
)
def test_a_value_of_another_type_is_refused(method: str, value: object) -> None:
    with pytest.raises(MemqlError) as raised:
        getattr(Row({"a": value}), method)("a")
    assert raised.value.code is Code.INVALID_FIELD_TYPE


def test_a_member_of_the_exact_name_comes_before_a_path() -> None:
    assert Row({"a.b": 1, "a": {"b": 2}}).int("a.b") == 1


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("queryJobs({})", True),
        ("paginate(queryJobs({}), 2)", True),
        ("concept==v1:ops:job", True),
        (' id == "v1:ops:job:j1"', True),
        ("childOf(concept==v1:ops:customer)", True),
        ("concepts()", True),
        ("mutationCreateJob({})", False),
        ("logicSweep({})", False),
        ('insert("v1:ops:job")', False),
        ("a := payload.x == 1 concept==v1:ops:job", False),
        ("querious({})", False),
        ("", False),
    ],
)
def test_only_what_surely_reads_counts_as_a_read(text: str, read: bool) -> None:
    assert is_read(text) is read


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert is_read(text) in (True, False)
