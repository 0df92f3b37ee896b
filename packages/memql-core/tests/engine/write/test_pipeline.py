"""The write pipeline on a real database."""

from __future__ import annotations

from typing import Any

import pytest

from memql.auth import Actor
from memql.errors import Code, MemqlError
from memql.graph.database import Connection

from .conftest import BOSS, SYSTEM, U1, U2, World

pytestmark = pytest.mark.anyio

ACME = "v1:ops:customer:acme"
J1 = "v1:ops:job:j1"


async def refused(world: World, text: str, code: Code, actor: Actor = SYSTEM) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await world.raw(text, actor)
    assert caught.value.code is code, str(caught.value)
    return caught.value


async def test_an_insert_fills_defaults_and_qualifies_references(world: World) -> None:
    result = await world.raw(
        'insert("v1:ops:customer", id="acme", payload={name:"Acme", tier:"gold", ownerUserId:"u1", prefs:{}})'
    )
    node = result.decoded_nodes()[0]
    assert node["payload"] == {
        "name": "Acme",
        "tier": "gold",
        "ownerUserId": "v1:identity:user:u1",
        "prefs": {"sms": True},
    }
    assert (node["id"], node["concept"], node["type"]) == (ACME, "v1:ops:customer", "object")
    assert node["createdBy"] == "system:test"
    assert result.meta.server_id == ACME
    assert result.root_ids == [ACME]


async def test_defaults_inside_a_block_need_the_block(world: World) -> None:
    result = await world.raw('insert("v1:ops:customer", id="bolt", payload={name:"Bolt", ownerUserId:"u2"})')
    assert "prefs" not in result.decoded_nodes()[0]["payload"]


async def test_nulls_are_dropped_before_defaults_apply(world: World) -> None:
    result = await world.raw('insert("v1:ops:job", payload={customerId:"acme", title:"x", status:null, dueAt:nil})')
    payload = result.decoded_nodes()[0]["payload"]
    assert payload["status"] == "open"
    assert "dueAt" not in payload


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ('insert("v1:ops:customer", payload={ownerUserId:"u1"})', Code.MISSING_REQUIRED_FIELDS, "name"),
        (
            'insert("v1:ops:job", payload={customerId:"a", title:"x", priority:"1"})',
            Code.INVALID_FIELD_TYPE,
            "priority",
        ),
        (
            'insert("v1:ops:visit", payload={jobId:"j1", kind:"inspection", detail:{minutes:5}})',
            Code.VALIDATION_FAILED,
            "detail.minutes",
        ),
        ('insert("v1:ops:job", payload={customerId:"a", title:"x", priority:9})', Code.VALIDATION_FAILED, "priority"),
        (
            'insert("v1:ops:job", payload={customerId:"a", title:"x", createdBy:"me"})',
            Code.VALIDATION_FAILED,
            "createdBy",
        ),
        ('insert("v1:ops:job", payload={customerId:"a", title:"x", dueAt:"soon"})', Code.VALIDATION_FAILED, "dueAt"),
        ('insert("v1:ops:job", id="a:b", payload={customerId:"a", title:"x"})', Code.VALIDATION_FAILED, "id"),
        (
            'insert("v1:ops:job", payload={customerId:"v1:ops:job:j1", title:"x"})',
            Code.VALIDATION_FAILED,
            "customerId",
        ),
        (
            'insert("v1:ops:route", payload={day:"d", jobIds:["j1", "v1:ops:visit:v"]})',
            Code.VALIDATION_FAILED,
            "jobIds.1",
        ),
    ],
)
async def test_a_refused_payload_says_what_is_wrong_and_where(world: World, text: str, code: Code, path: str) -> None:
    error = await refused(world, text, code)
    assert path in [violation["path"] for violation in error.details["violations"]]
    assert all(violation["message"] for violation in error.details["violations"])
    assert not world.events


async def test_a_payload_that_nests_without_end_is_refused(world: World) -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(MemqlError) as caught:
        await world.raw('insert("v1:ops:job", payload=$payload)', variables={"payload": {"title": deep}})
    assert caught.value.code is Code.VALIDATION_FAILED


async def test_an_unknown_concept_is_named_with_the_nearest(world: World) -> None:
    error = await refused(world, 'insert("v1:ops:jobs", payload={})', Code.UNKNOWN_CONCEPT)
    assert error.suggestion == {"didYouMean": "v1:ops:job"}


async def test_equal_payloads_are_versions_of_one_record(world: World) -> None:
    text = 'insert("v1:ops:route", payload={day:"2026-03-02"})'
    first, second = await world.raw(text), await world.raw(text)
    expected = "v1:ops:route:a97929e6da8a186eae8f0b09e3e8ba6bd01e6808e6b96c6a5bdd345af0bac72f"
    assert first.meta.server_id == second.meta.server_id == expected
    assert second.meta.version > first.meta.version
    deleted = await world.raw(f'delete("v1:ops:route", id="{expected}", reason="done")')
    assert deleted.decoded_nodes()[0]["payload"] == {"id": expected, "deleted": True, "reason": "done"}
    await refused(world, f'delete("v1:ops:route", id="{expected}")', Code.NOT_FOUND)
    await refused(world, f'update("v1:ops:route", id="{expected}", payload={{day:"x"}})', Code.NOT_FOUND)
    await world.raw(text)
    assert [version.get("deleted") for version in await world.versions(expected)] == [None, None, True, None]


async def test_the_stored_schema_is_a_reference_to_the_validating_variant(fixture_world: World) -> None:
    await fixture_world.raw('delete("v1:ops:job", id="j1")')
    rows = await fixture_world.database.fetch(
        "SELECT schema, provenance FROM memory_nodes WHERE id = %s ORDER BY created_at", (J1,)
    )
    concept = fixture_world.catalog.concepts["v1:ops:job"]
    assert rows[0][0] == {"$id": "v1.ops.job", "version": "1.2.0", "hash": concept.schema_hash}
    assert rows[1][0]["$id"] == "v1.ops.job.delete"
    assert rows[0][1] == {"kind": "direct", "name": "raw"}


async def test_an_update_replaces_top_level_keys_and_null_removes_one(fixture_world: World) -> None:
    result = await fixture_world.raw('update("v1:ops:job", id="j1", payload={title:"Big boiler", dueAt:null})')
    assert result.decoded_nodes()[0]["payload"] == {
        "customerId": ACME,
        "title": "Big boiler",
        "priority": 1,
        "status": "open",
        "active": True,
    }


async def test_if_version_guards_an_update(fixture_world: World) -> None:
    first = await fixture_world.raw('update("v1:ops:job", id="j1", payload={priority:2})')
    version = first.meta.version
    await fixture_world.raw(f'update("v1:ops:job", id="j1", payload={{priority:3}}, ifVersion={version})')
    error = await refused(
        fixture_world, f'update("v1:ops:job", id="j1", payload={{priority:4}}, ifVersion={version})', Code.CONFLICT
    )
    assert error.details["ifVersion"] == version
    assert not error.retryable


async def test_an_immutable_field_stays_through_update_replacement_deletion_and_revival(fixture_world: World) -> None:
    world = fixture_world
    await refused(world, 'update("v1:ops:customer", id="acme", payload={ownerUserId:"u2"})', Code.VALIDATION_FAILED)
    await refused(
        world, 'update("v1:ops:customer", id="acme", payload={ownerUserId:null})', Code.MISSING_REQUIRED_FIELDS
    )
    replacement = 'insert("v1:ops:customer", id="acme", payload={name:"Other", ownerUserId:"u2"})'
    await refused(world, replacement, Code.VALIDATION_FAILED)
    await world.raw('delete("v1:ops:customer", id="acme")')
    error = await refused(world, replacement, Code.VALIDATION_FAILED)
    assert error.details["violations"][0]["rule"] == "immutable"
    await world.raw('insert("v1:ops:customer", id="acme", payload={name:"Back", ownerUserId:"u1"})')


async def test_a_unique_field_conflicts_by_name_among_live_rows(world: World) -> None:
    text = 'insert("v1:identity:user", id="{}", payload={{displayName:"A", primaryEmail:"a@x.org"}})'
    await world.raw(text.format("one"))
    error = await refused(world, text.format("two"), Code.CONFLICT)
    assert error.details["field"] == "primaryEmail"
    await world.raw('delete("v1:identity:user", id="one")')
    await world.raw(text.format("two"))


async def test_a_unique_conflict_inside_a_transaction_is_worded_too(world: World) -> None:
    text = 'insert("v1:identity:user", id="{}", payload={{displayName:"A", primaryEmail:"a@x.org"}})'
    await world.raw(text.format("one"))

    async def work(connection: Connection) -> None:
        await world.raw(text.format("two"), connection=connection, deferred=[])

    with pytest.raises(MemqlError, match="primaryEmail"):
        await world.database.transaction(work)


async def test_events_follow_the_kind_of_write(fixture_world: World) -> None:
    world = fixture_world
    await world.raw('insert("v1:ops:job", id="j9", payload={customerId:"acme", title:"New"})')
    await world.raw('update("v1:ops:job", id="j9", payload={status:"done"})')
    await world.raw('delete("v1:ops:job", id="j9")')
    topics = [event.topic for event in world.events]
    assert topics == [
        "graph.node.created.v1:ops:job",
        "graph.node.created.v1:ops:job",
        "graph.node.updated.v1:ops:job",
        "graph.node.deleted.v1:ops:job",
    ]
    created, _, updated, deleted = world.events
    assert created.payload["nodeId"] == created.payload["id"] == "v1:ops:job:j9"
    assert created.payload["title"] == created.payload["payload"]["title"] == "New"
    assert created.payload["nodeType"] == "object"
    assert created.payload["actor"] == created.actor == "system:test"
    assert created.kind == "NODE_CREATED"
    assert created.id == f"g:{created.log_seq}:created"
    assert updated.payload["oldStatus"] == "open"
    assert "oldStatus" not in created.payload
    assert deleted.payload["payload"] == {"id": "v1:ops:job:j9", "deleted": True}


async def test_events_inside_a_transaction_wait_for_its_owner(fixture_world: World) -> None:
    world, deferred = fixture_world, list[Any]()

    async def work(connection: Connection) -> None:
        await world.raw('update("v1:ops:job", id="j1", payload={priority:2})', connection=connection, deferred=deferred)
        await world.raw('update("v1:ops:job", id="j1", payload={priority:3})', connection=connection, deferred=deferred)
        assert not world.events

    await world.database.transaction(work)
    assert len(deferred) == 4
    assert not world.events
    assert [version["priority"] for version in await world.versions(J1)] == [1, 2, 3]


async def test_row_rules_bind_raw_writers_and_spare_the_cluster_owner(fixture_world: World) -> None:
    world = fixture_world
    await refused(
        world, 'insert("v1:ops:customer", id="new", payload={name:"New", ownerUserId:"u1"})', Code.FORBIDDEN, BOSS
    )
    await world.raw('insert("v1:ops:customer", id="new", payload={name:"New", ownerUserId:"boss"})', BOSS)
    await refused(world, 'update("v1:ops:customer", id="acme", payload={name:"Mine"})', Code.NOT_FOUND, BOSS)
    await refused(world, 'delete("v1:ops:customer", id="acme")', Code.NOT_FOUND, BOSS)
    await refused(
        world, 'insert("v1:ops:customer", id="acme", payload={name:"Mine", ownerUserId:"boss"})', Code.NOT_FOUND, BOSS
    )
    owner = Actor(user_id="v1:identity:user:root", role="owner", is_cluster_owner=True)
    await world.raw('update("v1:ops:customer", id="acme", payload={name:"Renamed"})', owner)


async def test_a_write_of_a_cluster_owner_concept_needs_the_cluster_owner(world: World) -> None:
    await refused(
        world,
        'insert("v1:platform:globalSecret", payload={name:"A", encryptedValue:"x", fingerprint:"f"})',
        Code.FORBIDDEN,
        BOSS,
    )


async def test_secret_fields_are_masked_in_results_below_admin_and_in_events_always(world: World) -> None:
    text = 'insert("v1:platform:globalSecret", payload={name:"A", encryptedValue:"sealed", fingerprint:"f"})'
    result = await world.raw(text)
    assert result.decoded_nodes()[0]["payload"]["encryptedValue"] == "sealed"
    assert world.events[0].payload["encryptedValue"] == "***"
    assert world.events[0].payload["payload"]["encryptedValue"] == "***"
    rows = await world.database.fetch("SELECT count(*) FROM secret_memory_heads")
    assert rows == [(1,)]


async def test_two_users_never_see_each_other_as_owner(fixture_world: World) -> None:
    node = await fixture_world.call("mutationSetPrefs", {"customerId": "acme", "prefs": {"language": "es"}}, U1)
    assert node["payload"]["prefs"] == {"sms": True, "language": "es"}
    assert [event.topic.split(".")[2] for event in fixture_world.events] == ["created", "updated"]
    with pytest.raises(MemqlError) as caught:
        await fixture_world.call("mutationSetPrefs", {"customerId": "acme", "prefs": {"language": "de"}}, U2)
    assert caught.value.code is Code.NOT_FOUND
