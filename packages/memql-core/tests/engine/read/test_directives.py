"""Directives around reads: versions, order, pages, projections, counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memql.errors import Code, MemqlError

from .conftest import BOSS, START, SYSTEM, Lab

pytestmark = pytest.mark.anyio

SAMPLE = "v1:lab:sample"
ALL = "concept==v1:lab:sample"


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
async def versions(lab: Lab) -> Lab:
    """s1 changes at 1 s, 2 s and is deleted at 3 s and back at 5 s; s2 appears at 4 s."""
    await lab.put(SAMPLE, "s1", {"label": "one"}, at=START + timedelta(seconds=1))
    await lab.put(SAMPLE, "s1", {"label": "two"}, at=START + timedelta(seconds=2))
    await lab.put(SAMPLE, "s1", {"id": f"{SAMPLE}:s1", "deleted": True}, deleted=True, at=START + timedelta(seconds=3))
    await lab.put(SAMPLE, "s2", {"label": "other"}, at=START + timedelta(seconds=4))
    return lab


@pytest.fixture
async def samples(lab: Lab) -> Lab:
    rows: list[dict[str, Any]] = [
        {"label": "delta", "size": 2, "weight": 1.5, "seenAt": "2026-03-02T00:00:00Z", "alive": True, "thing": 3},
        {"label": "Alpha", "size": 10, "seenAt": "2026-03-02T00:30:00+01:00", "alive": False, "thing": "x"},
        {"label": "alpha", "size": 2, "seenAt": "2026-03-01T12:00:00Z", "thing": True},
        {"size": -1, "place": {"city": "Bern", "spot": {"x": 4, "y": 5}}, "labels": {"a": "b"}},
    ]
    for number, payload in enumerate(rows, 1):
        await lab.put(SAMPLE, f"s{number}", payload)
    return lab


async def refused(lab: Lab, text: str, code: Code, **variables: Any) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await lab.read(text, SYSTEM, **variables)
    assert caught.value.code is code, str(caught.value)
    return caught.value


async def test_reads_choose_the_version_first_and_filter_it_afterwards(versions: Lab) -> None:
    assert await versions.shorts(ALL) == ["s2"]
    assert await versions.shorts(f'asOf({ALL}, "{at(1.5)}")') == ["s1"]
    assert await versions.shorts(f'asOf({ALL};payload.label=="one", "{at(2.5)}")') == []
    assert await versions.shorts(f'{ALL};payload.label=="two" @ "{at(2.5)}"') == ["s1"]
    assert await versions.shorts(f'asOf({ALL}, "{at(3.5)}")') == []
    assert await versions.shorts(f"asOf({ALL}, $t)", t=at(4)) == ["s2"]
    assert await versions.shorts(f"asOf({ALL}, latest)") == ["s2"]
    assert await versions.shorts(f'asOf({ALL};id=="s1", "{at(1)}")') == ["s1"]
    assert await versions.shorts(f'asOf({ALL};id in ("s1","s2"), "{at(1)}")') == ["s1"]


async def test_deleted_rows_and_all_versions_can_be_asked_for(versions: Lab) -> None:
    assert await versions.shorts(f"withDeleted({ALL})") == ["s2", "s1"]
    history = await versions.read(f'history({ALL};id=="s1")')
    payloads = [node["payload"] for node in history.decoded_nodes()]
    assert payloads == [{"id": f"{SAMPLE}:s1", "deleted": True}, {"label": "two"}, {"label": "one"}]
    assert await versions.shorts(f'history({ALL}, "{at(2)}", "{at(3)}")') == ["s1", "s1"]
    assert await versions.shorts(f'history({ALL}, "{at(3.5)}")') == ["s2"]
    assert await versions.shorts(f'asOf(withDeleted({ALL}), "{at(3.5)}")') == ["s1"]
    assert await versions.data(f"count(history({ALL}))") == [4]
    assert await versions.data(f'count(history({ALL};payload.label=="two"))') == [1]
    await versions.put(SAMPLE, "s1", {"label": "again"}, at=START + timedelta(seconds=5))
    assert await versions.shorts(ALL) == ["s1", "s2"]


async def test_sorting_knows_numbers_texts_moments_and_puts_nulls_last(samples: Lab) -> None:
    assert await samples.shorts(ALL) == ["s4", "s3", "s2", "s1"]
    assert await samples.shorts(f'sort({ALL},"payload.size","asc")') == ["s4", "s1", "s3", "s2"]
    assert await samples.shorts(f'sort({ALL},"payload.size")') == ["s2", "s1", "s3", "s4"]
    assert await samples.shorts(f'sort({ALL},"payload.label","asc")') == ["s2", "s3", "s1", "s4"]
    assert await samples.shorts(f'sort({ALL},"payload.seenAt","asc")') == ["s3", "s2", "s1", "s4"]
    assert await samples.shorts(f'sort({ALL},"payload.seenAt","desc")') == ["s1", "s2", "s3", "s4"]
    assert await samples.shorts(f'sort({ALL},"payload.alive","desc","id","desc")') == ["s1", "s2", "s4", "s3"]
    assert await samples.shorts(f'sort({ALL},"payload.thing","asc")') == ["s1", "s3", "s2", "s4"]
    assert await samples.shorts(f'sort({ALL},"payload.size","asc","createdAt","desc")') == ["s4", "s3", "s1", "s2"]
    await refused(samples, f'sort({ALL},"payload.place")', Code.INVALID_ARGUMENT)
    await refused(samples, f'sort({ALL},"payload.siez")', Code.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "order",
    ['"payload.size","asc"', '"payload.size","desc"', '"payload.label","desc"', '"payload.thing","asc"',
     '"payload.seenAt","desc","payload.label","asc"', '"payload.weight","asc"', '"createdAt","asc"'],
)  # fmt: skip
async def test_pages_follow_each_other_under_inserts_in_front(samples: Lab, order: str) -> None:
    expected = await samples.shorts(f"sort({ALL},{order})")
    seen: list[str] = []
    cursor = ""
    for number in range(len(expected)):
        page = await samples.read(f"paginate(sort({ALL},{order}), 1, $c)", c=cursor)
        seen += [root.rpartition(":")[2] for root in page.root_ids]
        cursor = page.meta.cursor
        assert page.meta.has_more is (number < len(expected) - 1)
        before = {"payload.size": {"size": -99 if "asc" in order else 99}}.get(order.split('"')[1])
        if before is not None:
            await samples.put(SAMPLE, f"in-front-{number}", before)
    assert seen == expected


async def test_pages_by_default_order_offset_and_limit(samples: Lab) -> None:
    first = await samples.read(f"paginate({ALL}, 3)")
    await samples.put(SAMPLE, "s5", {})
    assert await samples.shorts(f"paginate({ALL}, 3, $c)", c=first.meta.cursor) == ["s1"]
    assert await samples.shorts(f"paginate({ALL}, 2, 1)") == ["s4", "s3"]
    assert await samples.shorts(f"paginate({ALL}, 2, 100)") == []
    assert await samples.shorts(f"paginate(history({ALL}), 2)") == ["s5", "s4"]
    for bad in ("0", "-1", '"x"', "1.5", "nil"):
        await refused(samples, f"paginate({ALL}, {bad})", Code.INVALID_ARGUMENT)
    await refused(samples, f"paginate({ALL}, 2, -1)", Code.INVALID_ARGUMENT)


async def test_a_cursor_continues_a_named_query_however_it_was_called(samples: Lab) -> None:
    query = samples.catalog.queries["querySamples"]
    first = await samples.reader.query(query, {"min": 1, "limit": 2}, samples.context())
    assert [root[-2:] for root in first.root_ids] == ["s1", "s3"]
    again = "paginate(querySamples({min: 1}), 2, $c)"
    assert await samples.shorts(again, c=first.meta.cursor) == ["s2"]
    assert await samples.shorts("paginate(querySamples(min: $m), $n, $c)", m=1, n=1, c=first.meta.cursor) == ["s2"]


async def test_a_cursor_beside_the_text_continues_the_page_as_one_inside_does(samples: Lab) -> None:
    for text in (
        f"paginate({ALL}, 3)",
        f'paginate(sort({ALL},"payload.size"), 3)',
        f"paginate(history({ALL}), 3)",
        f'shape(paginate({ALL}, 3), {{n: node("id")}})',
    ):
        first = await samples.read(text)
        rest = await samples.read(text, cursor=first.meta.cursor)
        whole = await samples.read(text.replace("3)", "4)"))
        assert [*first.nodes, *rest.nodes] == [*whole.nodes]
        assert [*first.data, *rest.data] == [*whole.data]
        assert (first.meta.has_more, rest.meta.has_more, rest.meta.cursor) == (True, False, "")


async def test_a_cursor_continues_the_page_that_a_named_query_declares(samples: Lab) -> None:
    first = await samples.read("querySamples({min: 1, limit: 2})")
    assert [root[-2:] for root in first.root_ids] == ["s1", "s3"]
    rest = await samples.read("querySamples({min: 1, limit: 2})", cursor=first.meta.cursor)
    assert [root[-2:] for root in rest.root_ids] == ["s2"]


async def test_the_largest_page_is_continued_where_none_is_named(samples: Lab) -> None:
    reader = samples.sibling(max_results=3)
    first = await reader.read(ALL)
    rest = await reader.read(ALL, cursor=first.meta.cursor)
    assert [root[-2:] for root in [*first.root_ids, *rest.root_ids]] == ["s4", "s3", "s2", "s1"]


async def test_cursors_of_other_reads_callers_and_values_are_refused(samples: Lab) -> None:
    other = await samples.read(f"paginate({ALL};payload.size==$n, 1)", n=2)
    first = await samples.read(f"paginate({ALL}, 1)")
    for text, cursor, actor, given in (
        (f"paginate({ALL}, 1)", "nonsense", SYSTEM, {}),
        (f"paginate({ALL}, 1)", first.meta.cursor[:-2] + "AA", SYSTEM, {}),
        (f"paginate({ALL}, 1)", other.meta.cursor, SYSTEM, {}),
        (f"paginate({ALL};payload.size==$n, 1)", other.meta.cursor, SYSTEM, {"n": 10}),
        (f"paginate({ALL}, 1)", first.meta.cursor, BOSS, {}),
    ):
        variables: dict[str, Any] = dict(given)
        with pytest.raises(MemqlError) as caught:
            await samples.read(text, actor, cursor=cursor, **variables)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert "cursor" in caught.value.message


async def test_a_cursor_is_refused_where_there_is_no_page_to_continue(samples: Lab) -> None:
    first = await samples.read(f"paginate({ALL}, 1)")
    for text in (f"count({ALL})", f"paginate({ALL}, 1, 1)", f'paginate({ALL}, 1, "{first.meta.cursor}")'):
        with pytest.raises(MemqlError) as caught:
            await samples.read(text, cursor=first.meta.cursor)
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_history_pages_cut_between_versions_of_one_id(versions: Lab) -> None:
    labels, cursor = [], ""
    for _ in range(4):
        page = await versions.read(f"paginate(history({ALL}), 1, $c)", c=cursor)
        labels += [node["payload"].get("label") for node in page.decoded_nodes()]
        cursor = page.meta.cursor
    assert labels == ["other", None, "two", "one"]
    assert cursor == ""


async def test_a_page_is_never_larger_than_the_limit_of_the_server(lab: Lab) -> None:
    from memql.engine.read import GraphReader

    for number in range(5):
        await lab.put(SAMPLE, f"s{number}", {})
    lab.reader = GraphReader(lab.database, lambda: lab.catalog, signing_key=b"k" * 16, max_results=3)
    for text in (ALL, f"paginate({ALL}, 100)", "querySamples({limit: 100})"):
        page = await lab.read(text)
        assert (page.meta.count, page.meta.has_more) == (3, True)


async def test_clauses_of_a_query_yield_to_directives(samples: Lab) -> None:
    assert await samples.shorts("querySamples({})") == ["s4", "s1", "s3", "s2"]
    assert await samples.shorts("querySamples({limit: 2})") == ["s4", "s1"]
    assert await samples.shorts('sort(querySamples({limit: 2}),"createdAt","asc")') == ["s1", "s2"]
    assert await samples.shorts("paginate(querySamples({limit: 2}), 3)") == ["s4", "s1", "s3"]
    assert await samples.shorts(f'querySamples({{at: "{at(2)}"}})') == ["s1", "s2"]
    assert await samples.shorts(f'asOf(querySamples({{at: "{at(2)}"}}), "{at(1)}")') == ["s1"]
    assert await samples.data("queryCounted()") == [1]


async def test_selections_return_the_named_members_only(samples: Lab) -> None:
    (node,) = (await samples.read(f'select({ALL};id=="s4","payload.size","payload.place.spot.x")')).decoded_nodes()
    assert node == {"id": f"{SAMPLE}:s4", "payload": {"size": -1, "place": {"spot": {"x": 4}}}}
    (node,) = (await samples.read(f'select({ALL};id=="s4","concept","type","createdBy","schema")')).decoded_nodes()
    assert node == {
        "id": f"{SAMPLE}:s4",
        "concept": SAMPLE,
        "type": "object",
        "createdBy": "system:test",
        "schema": {"$id": "v1.lab.sample"},
    }
    (node,) = (
        await samples.read(f'select({ALL};id=="s4","payload.place.*","meta.batch.no","payload.label")')
    ).decoded_nodes()
    assert node == {
        "id": f"{SAMPLE}:s4",
        "payload": {"place": {"city": "Bern", "spot": {"x": 4, "y": 5}}},
        "metadata": {"batch": {"no": 7}},
    }
    (node,) = (
        await samples.read(f'select({ALL};id=="s4","meta.*","payload.place.city","payload.place")')
    ).decoded_nodes()
    assert node["metadata"] == {"batch": {"no": 7}}
    assert node["payload"] == {"place": {"city": "Bern", "spot": {"x": 4, "y": 5}}}
    await refused(samples, f'select({ALL},"payload.*")', Code.INVALID_ARGUMENT)
    await refused(samples, f'select({ALL},"payload.nothing")', Code.INVALID_ARGUMENT)


async def test_fields_before_the_concept_limit_and_intersect_selections(samples: Lab) -> None:
    limited = 'concept @fields("payload.size","createdBy") == v1:lab:sample;id=="s4"'
    (node,) = (await samples.read(limited)).decoded_nodes()
    assert node == {"id": f"{SAMPLE}:s4", "payload": {"size": -1}, "createdBy": "system:test"}
    (node,) = (await samples.read(f'select({limited},"payload.size","payload.place")')).decoded_nodes()
    assert node == {"id": f"{SAMPLE}:s4", "payload": {"size": -1}}


async def test_selections_page_without_the_members_they_are_ordered_by(samples: Lab) -> None:
    for text in (f'select({ALL},"payload.size")', 'concept @fields("payload.size") == v1:lab:sample'):
        first = await samples.read(f"paginate({text}, 3)")
        assert await samples.shorts(f"paginate({text}, 3, $c)", c=first.meta.cursor) == ["s1"]


async def test_named_shapes_leave_nulls_out(samples: Lab) -> None:
    assert await samples.data(f'shape({ALL};id in ("s1","s4"), "sampleCard")') == [
        {"id": f"{SAMPLE}:s4", "city": "Bern"},
        {"id": f"{SAMPLE}:s1", "label": "delta"},
    ]
    both = await samples.read(f'shapeWithBundle({ALL};id=="s1", "sampleMine")')
    assert both.decoded_data() == [{"at": "2026-03-01T00:00:01.000000Z", "me": "", "role": "system"}]
    assert [node["id"] for node in both.decoded_nodes()] == [f"{SAMPLE}:s1"]
    error = await refused(samples, f'shape({ALL}, "sampleCrad")', Code.INVALID_ARGUMENT)
    assert error.suggestion == {"didYouMean": "sampleCard"}
    await refused(samples, f'shape({ALL}, "jobCard")', Code.INVALID_ARGUMENT)


async def test_misplaced_and_repeated_directives_are_syntax_errors(lab: Lab) -> None:
    for text in (
        f"count(count({ALL}))",
        f'sort(sort({ALL},"id"),"id")',
        f'asOf({ALL} @ "2026-03-01", "2026-03-01")',
        f'shape(shapeWithBundle({ALL},"sampleCard"),"sampleCard")',
        f'history(asOf({ALL},"2026-03-01"))',
        f"sort({ALL})",
        f'sort({ALL},"asc")',
        f"sort({ALL},1)",
        f'withDepth({ALL},"1")',
        'count(mutationDropJob({jobId:"j1"}))',
        "paginate(logicEscalate({}), 1)",
    ):
        await refused(lab, text, Code.SYNTAX_ERROR)


async def test_directives_combine_in_any_order(samples: Lab) -> None:
    for text in (
        f'paginate(sort(select({ALL},"payload.size"),"payload.size","asc"),2)',
        f'select(paginate(sort({ALL},"payload.size","asc"),2),"payload.size")',
        f'sort(select(paginate({ALL},2),"payload.size"),"payload.size","asc")',
    ):
        nodes = (await samples.read(text)).decoded_nodes()
        assert [node["payload"] for node in nodes] == [{"size": -1}, {"size": 2}]
    assert await samples.data(f"count(paginate({ALL}, 1))") == [4]
    for bad in ("no date", "2026-13-01"):
        await refused(samples, f'asOf({ALL}, "{bad}")', Code.INVALID_ARGUMENT)
