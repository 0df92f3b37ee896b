"""Many rows at once, one bad row at a time."""

from __future__ import annotations

from typing import Any

import pytest

from memql.auth import Actor
from memql.engine.write import BulkWriter, ImportRow
from memql.errors import Code, MemqlError

from .conftest import BOSS, SYSTEM, World

pytestmark = pytest.mark.anyio


def bulk(world: World, concept: str, actor: Actor = SYSTEM, **options: Any) -> BulkWriter:
    return BulkWriter(world.writer, world.database, concept, world.context(actor), **options)


async def test_rows_go_through_the_same_pipeline_as_single_inserts(world: World) -> None:
    rows = [
        ImportRow(1, {"customerId": "acme", "title": "One", "dueAt": None}, "j1"),
        ImportRow(2, {"customerId": "acme", "title": "Two", "priority": 2.0}),
    ]
    outcome = await bulk(world, "v1:ops:job", publish=world.events.append).write(rows)
    single = await world.raw('insert("v1:ops:job", payload={customerId:"acme", title:"Two", priority:2})')
    assert [(row.line, row.created) for row in outcome.stored] == [(1, True), (2, True)]
    assert outcome.stored[1].id == single.meta.server_id
    assert len(await world.versions(single.meta.server_id)) == 2
    head = (await world.versions("v1:ops:job:j1"))[0]
    assert head == {
        "customerId": "v1:ops:customer:acme",
        "title": "One",
        "status": "open",
        "priority": 3,
        "active": True,
    }
    assert [event.topic for event in world.events[:2]] == ["graph.node.created.v1:ops:job"] * 2


async def test_bad_rows_are_reported_by_line_and_cost_only_themselves(world: World) -> None:
    rows = [
        ImportRow(7, {"customerId": "acme"}),
        ImportRow(8, {"customerId": "acme", "title": "Fine"}),
        ImportRow(9, {"customerId": "acme", "title": 5}),
        ImportRow(10, {"customerId": "acme", "title": "Fine", "other": 1}),
        ImportRow(11, {"customerId": "acme", "title": "Fine"}, "no good"),
    ]
    outcome = await bulk(world, "v1:ops:job").write(rows)
    assert [row.line for row in outcome.stored] == [8]
    assert [(row.line, row.error.code) for row in outcome.refused] == [
        (7, Code.MISSING_REQUIRED_FIELDS),
        (9, Code.INVALID_FIELD_TYPE),
        (10, Code.VALIDATION_FAILED),
        (11, Code.VALIDATION_FAILED),
    ]


async def test_a_row_that_breaks_a_unique_field_is_taken_out_of_its_batch(world: World) -> None:
    def row(line: int, name: str, email: str) -> ImportRow:
        return ImportRow(line, {"displayName": name, "primaryEmail": email}, name)

    rows = [row(1, "a", "a@x.org"), row(2, "b", "a@x.org"), row(3, "c", "c@x.org"), row(4, "d", "c@x.org")]
    outcome = await bulk(world, "v1:identity:user").write(rows)
    assert [stored.line for stored in outcome.stored] == [1, 3]
    assert [(refused.line, refused.error.details["field"]) for refused in outcome.refused] == [
        (2, "primaryEmail"),
        (4, "primaryEmail"),
    ]


async def test_immutable_fields_and_owners_hold_in_bulk(fixture_world: World) -> None:
    world = fixture_world
    await world.raw('insert("v1:ops:customer", id="gone", payload={name:"Gone", ownerUserId:"u1"})')
    await world.raw('delete("v1:ops:customer", id="gone")')
    rows = [
        ImportRow(1, {"name": "Acme 2", "ownerUserId": "u1"}, "acme"),
        ImportRow(2, {"name": "Stolen", "ownerUserId": "boss"}, "bolt"),
        ImportRow(3, {"name": "Stolen", "ownerUserId": "boss"}, "gone"),
        ImportRow(4, {"name": "New", "ownerUserId": "boss"}, "new"),
        ImportRow(5, {"name": "Changed", "ownerUserId": "u2"}, "new"),
    ]
    outcome = await bulk(world, "v1:ops:customer").write(rows)
    assert [(row.line, row.created) for row in outcome.stored] == [(1, False), (4, True)]
    assert [row.line for row in outcome.refused] == [2, 3, 5]
    outcome = await bulk(world, "v1:ops:customer", BOSS).write(rows)
    assert [row.line for row in outcome.stored] == [4]
    assert outcome.refused[0].error.code is Code.FORBIDDEN


async def test_a_caller_who_may_not_write_the_concept_is_told_at_once(world: World) -> None:
    with pytest.raises(MemqlError) as caught:
        bulk(world, "v1:platform:auditEntry", BOSS)
    assert caught.value.code is Code.FORBIDDEN
    with pytest.raises(MemqlError) as caught:
        bulk(world, "v1:ops:nothing")
    assert caught.value.code is Code.UNKNOWN_CONCEPT


async def test_an_empty_or_wholly_refused_batch_writes_nothing(world: World) -> None:
    writer = bulk(world, "v1:ops:job")
    assert (await writer.write([])).stored == ()
    assert len((await writer.write([ImportRow(1, {})])).refused) == 1
