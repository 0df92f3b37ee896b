"""Templates: JSON built by the database from a row and what is related to it."""

from __future__ import annotations

from typing import Any

import pytest

from memql.engine.context import RequestContext
from memql.engine.read import GraphReader
from memql.errors import Code, MemqlError

from .conftest import KEY, U1, U2, Lab

pytestmark = pytest.mark.anyio

ACME = 'concept==v1:ops:customer;id=="acme"'
J1 = 'concept==v1:ops:job;id=="j1"'


async def shaped(lab: Lab, source: str, template: str, **options: Any) -> Any:
    (row,) = await lab.data(f"shape({source}, {template})", **options)
    return row


async def test_nodes_give_values_maps_or_the_whole_row(ops: Lab) -> None:
    assert await shaped(ops, J1, '{t: node("payload.title"), c: node("concept"), at: node("createdAt")}') == {
        "t": "Boiler",
        "c": "v1:ops:job",
        "at": "2026-03-01T00:00:03.000000Z",
    }
    assert await shaped(ops, J1, 'node("payload.title")') == "Boiler"
    assert await shaped(ops, J1, 'node("id", "payload.priority", "metadata.batch.no")') == {
        "id": "v1:ops:job:j1",
        "priority": 1,
        "no": 7,
    }
    whole = await shaped(ops, J1, "[node()]")
    assert whole[0]["payload"]["title"] == "Boiler"


async def test_missing_values_leave_objects_and_stay_in_lists(ops: Lab) -> None:
    j2 = 'concept==v1:ops:job;id=="j2"'
    assert await shaped(ops, j2, '{due: node("payload.dueAt"), t: node("payload.title")}') == {"t": "Radiator"}
    assert await shaped(ops, j2, '[node("payload.dueAt"), 1, null, "x"]') == [None, 1, None, "x"]
    assert await shaped(ops, j2, 'node("payload.dueAt")') is None
    assert await shaped(ops, j2, '{due: node("payload.dueAt") ?? "none", n: literal({a: [1, {b: "c\'d"}]})}') == {
        "due": "none",
        "n": {"a": [1, {"b": "c'd"}]},
    }


async def test_json_gives_text_and_variables_are_bound(ops: Lab) -> None:
    assert await shaped(ops, J1, '{p: json(node("payload.priority")), v: $v}', v=["a", {"b": 1}]) == {
        "p": "1",
        "v": ["a", {"b": 1}],
    }


async def test_related_rows_are_lists_newest_first(ops: Lab) -> None:
    assert await shaped(ops, ACME, '{g: match(case(node("payload.tier")=="gold", "G"), default("-")), '
                        'jobs: children({t: node("payload.title")})}') == {
        "g": "G",
        "jobs": [{"t": "Valve"}, {"t": "Radiator"}, {"t": "Boiler"}],
    }  # fmt: skip
    assert await shaped(ops, J1, '{p: parents({n: node("payload.name"), all: children(node("payload.title"))})}') == {
        "p": [{"n": "Acme", "all": ["Valve", "Radiator", "Boiler"]}]
    }
    assert await shaped(ops, 'id=="v1:ops:route:r1"', 'contains(node("payload.title"))') == ["Valve", "Boiler"]
    assert await shaped(ops, J1, "{v: children(node())}") == {"v": []}


async def test_related_rows_obey_row_rules(ops: Lab) -> None:
    template = '{p: parents(node("payload.name"))}'
    assert await shaped(ops, J1, template, actor=U1) == {"p": ["Acme"]}
    assert await shaped(ops, J1, template, actor=U2) == {"p": []}


async def test_match_takes_the_first_case_that_holds(ops: Lab) -> None:
    template = (
        'match(case(specNeedsVisit, "visit"), case(node("payload.status") == "done" && node("payload.priority") > 2, '
        'node("payload.title")), default("rest"))'
    )
    assert await ops.data(f"shape(sort(concept==v1:ops:job,\"id\",\"asc\"), {template})") == [
        "visit", "Radiator", "visit", "visit",
    ]  # fmt: skip
    assert await shaped(ops, J1, 'match(case(node("payload.status") == "done", 1))') is None


async def test_anything_else_is_a_syntax_error(ops: Lab) -> None:
    for part in (
        "{p: nope(1)}", "{p: node(payload.title)}", "{p: payload.title}", "match(1)", "match(default(1), default(2))",
        "children()", 'node("payload.title", "metadata.title")', "literal(payload.x)", "1 + 1",
    ):  # fmt: skip
        with pytest.raises(MemqlError) as caught:
            await ops.read(f"shape({J1}, {part})")
        assert caught.value.code is Code.SYNTAX_ERROR, part


async def test_unknown_paths_and_relationships_are_told(ops: Lab) -> None:
    for template, code in (
        ('node("payload.titel")', Code.INVALID_ARGUMENT),
        ('node("title")', Code.INVALID_ARGUMENT),
        ("owns(node())", Code.RELATIONSHIP_NOT_FOUND),
    ):
        with pytest.raises(MemqlError) as caught:
            await ops.read(f"shape({J1}, {template})")
        assert caught.value.code is code


async def test_model_calls_are_unavailable_without_a_model(ops: Lab) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.read(f'shape({J1}, {{s: si("jobSummary", {{title: node("payload.title")}})}})')
    assert caught.value.code is Code.UNAVAILABLE


async def test_model_calls_are_answered_per_row_wherever_they_stand(ops: Lab) -> None:
    asked: list[tuple[str, dict[str, Any], str | None, float | None]] = []

    async def ask(
        name: str, data: dict[str, Any], ctx: RequestContext, *, provider: str | None = None, ttl: float | None = None
    ) -> Any:
        asked.append((name, data, provider, ttl))
        return {"about": data.get("title", "?")}

    ops.reader = GraphReader(ops.database, lambda: ops.catalog, signing_key=KEY, ask_model=ask)
    template = '{t: node("payload.title"), s: [si("jobSummary", {title: node("payload.title")}, "smallChat", 60)]}'
    rows = await ops.data(f'shape(concept==v1:ops:job;id in ("j1","j2"), {template})')
    assert rows == [
        {"t": "Radiator", "s": [{"about": "Radiator"}]},
        {"t": "Boiler", "s": [{"about": "Boiler"}]},
    ]
    assert sorted(call[1]["title"] for call in asked) == ["Boiler", "Radiator"]
    assert {(call[0], *call[2:]) for call in asked} == {("jobSummary", "smallChat", 60)}
    assert await ops.data(f'shape({ACME}, children(si("jobSummary", {{title: node("payload.title")}})))') == [
        [{"about": "Valve"}, {"about": "Radiator"}, {"about": "Boiler"}]
    ]
