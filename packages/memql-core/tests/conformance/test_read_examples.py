"""Worked examples of the language: traits, specs, shapes, named queries, optional filters, pages, raw queries."""

from __future__ import annotations

import json

import pytest
from ops_system import BOSS, SYSTEM, U1, Ops

from memql.auth import Actor
from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio


async def test_an_owned_query_gives_each_caller_their_own_rows(ops: Ops) -> None:
    assert await ops.data("queryMyCustomers({})", U1) == [{"customerId": "v1:ops:customer:acme", "name": "Acme"}]
    assert await ops.data("queryMyCustomers({})", BOSS) == []


@pytest.mark.parametrize(("actor", "titles"), [(BOSS, ["Valve", "Boiler"]), (U1, [])])
async def test_a_context_spec_that_is_false_gives_nothing(ops: Ops, actor: Actor, titles: list[str]) -> None:
    rows = await ops.data("queryUrgentJobs()", actor)
    assert [row["title"] for row in rows] == titles


async def test_a_shape_names_exactly_its_members(ops: Ops) -> None:
    first = (await ops.data("queryUrgentJobs()"))[0]
    assert first == {"id": "v1:ops:job:j3", "title": "Valve", "status": "scheduled", "priority": 2}


@pytest.mark.parametrize(
    ("arguments", "jobs"),
    [
        ('{customerId:"acme"}', ["j1", "j3", "j2"]),
        ('{customerId:"acme", status:"scheduled"}', ["j3"]),
        ('{customerId:"acme", dueBefore:"2026-03-06T00:00:00Z"}', ["j1"]),
    ],
)
async def test_optional_terms_leave_the_filter_with_their_argument(ops: Ops, arguments: str, jobs: list[str]) -> None:
    rows = await ops.data(f"queryJobs({arguments})", U1)
    assert [row["id"].rpartition(":")[2] for row in rows] == jobs


@pytest.mark.parametrize("arguments", ['{customerId:"acme", status:"lost"}', "{}"])
async def test_wrong_arguments_are_refused_before_anything_runs(ops: Ops, arguments: str) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run(f"queryJobs({arguments})", U1)
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_pages_follow_a_cursor_that_an_insert_in_front_does_not_shift(ops: Ops) -> None:
    page = 'paginate(queryJobs({{customerId:"acme"}}), 2{})'
    first = await ops.run(page.format(""), U1)
    assert [row["id"].rpartition(":")[2] for row in first.decoded_data()] == ["j1", "j3"]
    assert first.meta.has_more
    await ops.run('insert("v1:ops:job", id="j0", payload={customerId:"acme", title:"First", priority:1})', SYSTEM)
    second = await ops.run(page.format(f', "{first.meta.cursor}"'), U1)
    assert [row["id"].rpartition(":")[2] for row in second.decoded_data()] == ["j2"]
    assert not second.meta.has_more


async def test_a_cursor_that_was_tampered_with_or_belongs_elsewhere_is_refused(ops: Ops) -> None:
    first = await ops.run('paginate(queryJobs({customerId:"acme"}), 2)', U1)
    cursor = first.meta.cursor
    broken = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for text in (
        f'paginate(queryJobs({{customerId:"acme"}}), 2, "{broken}")',
        f'paginate(queryJobs({{customerId:"bolt"}}), 2, "{cursor}")',
    ):
        with pytest.raises(MemqlError) as caught:
            await ops.run(text, U1)
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_count_counts_all_matches(ops: Ops) -> None:
    result = await ops.run('count(queryJobs({customerId:"acme"}))', U1)
    assert result.decoded_data() == [3]
    assert result.meta.count == 3


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('concept==v1:ops:job;payload.status in ("open","scheduled");payload.priority<=2', ["j4", "j3", "j1"]),
        ("concept==v1:ops:job;payload.dueAt==nil", ["j4", "j2"]),
        ("concept==v1:ops:job;payload.priority + 1 == 3", ["j4", "j3"]),
        ('childOf(concept==v1:ops:customer;id=="acme");payload.status!="done"', ["j3", "j1"]),
        ('parentOf(concept==v1:ops:job;id=="j4")', ["bolt"]),
        ('contains(concept==v1:ops:route;id=="r1")', ["j3", "j1"]),
        ("count v1:ops:job", []),
    ],
)
async def test_raw_reads_give_the_stated_rows_in_the_stated_order(ops: Ops, text: str, ids: list[str]) -> None:
    assert await ops.shorts(text, SYSTEM) == ids


async def test_count_of_a_concept_has_a_short_form(ops: Ops) -> None:
    assert await ops.data("count v1:ops:job") == [4]


async def test_traversals_do_not_pass_rows_the_caller_may_not_read(ops: Ops) -> None:
    assert await ops.shorts('childOf(concept==v1:ops:customer;id=="acme")', BOSS) == []


async def test_relationship_reads_bring_their_edges(ops: Ops) -> None:
    result = await ops.run('childOf(concept==v1:ops:customer;id=="acme");payload.status!="done"', SYSTEM)
    edges = [json.loads(edge) for edge in result.edges]
    assert {(edge["type"], edge["fromId"], edge["toId"]) for edge in edges} == {
        ("child", "v1:ops:customer:acme", "v1:ops:job:j3"),
        ("child", "v1:ops:customer:acme", "v1:ops:job:j1"),
    }


async def test_templates_reach_into_related_rows(ops: Ops) -> None:
    text = (
        'shape(concept==v1:ops:customer;id=="acme", {g: match(case(node("payload.tier")=="gold", "G"), default("-")), '
        'jobs: children({t: node("payload.title")})})'
    )
    assert await ops.data(text, SYSTEM) == [{"g": "G", "jobs": [{"t": "Valve"}, {"t": "Radiator"}, {"t": "Boiler"}]}]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('id=="j1"', Code.INVALID_ARGUMENT),
        ("concept==v1:a:b", Code.UNKNOWN_CONCEPT),
        ('concept==v1:ops:job,id=="j1";payload.active==true', Code.SYNTAX_ERROR),
        ('sort(sort(concept==v1:ops:job, "id"), "id")', Code.SYNTAX_ERROR),
        ("concept==v1:ops:job;payload.titel==1", Code.INVALID_ARGUMENT),
        ("queryJobz({})", Code.UNKNOWN_FUNCTION),
    ],
)
async def test_wrong_reads_are_refused_with_their_code(ops: Ops, text: str, code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run(text)
    assert caught.value.code is code


async def test_raw_reads_and_writes_need_an_administrator(ops: Ops) -> None:
    for text in ("concept==v1:ops:job", 'delete("v1:ops:job", id="j1")'):
        with pytest.raises(MemqlError) as caught:
            await ops.run(text, U1)
        assert caught.value.code is Code.FORBIDDEN
