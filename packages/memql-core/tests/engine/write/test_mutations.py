"""Named mutations on a real database."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from memql.auth import Actor, guest
from memql.engine.context import IdSequence
from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database
from memql.lang.catalog import Catalog

from .conftest import BOSS, SYSTEM, U1, U2, World, open_world, tree

pytestmark = pytest.mark.anyio

BOARDS = """
use identity.concepts.{ user }

@rowAuthz(owner="ownerUserId")
concept board {
  ownerUserId string! @immutable
  notes object
  status string
  @relationship(type="references", field="ownerUserId", target=user)
}

concept log {
  text string!
  at datetime
}

@enabled
mutation board mutationAddBoard {
  args { notes object }
  insert { id: newId()  ownerUserId: actor.userId  args.notes }
}

@enabled @mergeFields("notes")
mutation board mutationNote {
  args { boardId string!  key string!  value any }
  filter payload.ownerUserId == actor.userId
  update { id: args.boardId  notes: args.value }
}

@enabled @mergeFields("notes") @audit @role("writer")
mutation board mutationSetStatus {
  args { boardId string!  status string }
  update { id: args.boardId  args.status }
}

@enabled @role("writer")
mutation board mutationClear {
  args { boardId string! }
  filter payload.ownerUserId == actor.userId && payload.status != "locked"
  update { id: args.boardId  status: null }
}

@enabled @role("writer") @idempotent
mutation log mutationLog {
  args { payload object!  text string }
  insert { id: hash(args.payload)  args.payload  args.text }
}

@enabled @role("writer")
mutation log mutationDated {
  args { text string! }
  insert { createdAt: "2020-01-01T00:00:00Z"  args.text  at: now }
}

@enabled @role("writer") @idempotent
mutation log mutationDropLog {
  args { id string! }
  delete { args.id }
}

@enabled
mutation log mutationAdminOnly {
  args { logId string! }
  filter actor.role == "admin"
  update { id: args.logId  text: var("GREETING", "hello") }
}
"""


@pytest.fixture(scope="session")
def boards_catalog() -> Catalog:
    return tree({"ops/boards.memql": BOARDS})


@pytest.fixture
async def boards(database: Database, boards_catalog: Catalog) -> World:
    return await open_world(database, boards_catalog)


async def refused(world: World, name: str, args: dict[str, Any], code: Code, actor: Actor = U1) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await world.call(name, args, actor)
    assert caught.value.code is code, str(caught.value)
    return caught.value


async def test_an_id_derived_from_canonical_arguments_is_the_same_for_bare_and_full_ones(world: World) -> None:
    short = "cd4b74ad0d9bbffacfded935db72085fd5dcef8356e092c088dcc8f6866a3343"
    for customer in ("acme", "v1:ops:customer:acme"):
        node = await world.call("mutationCreateJob", {"customerId": customer, "title": "Boiler"})
        assert node["id"] == f"v1:ops:job:{short}"
        assert node["payload"] == {
            "customerId": "v1:ops:customer:acme",
            "title": "Boiler",
            "status": "open",
            "priority": 3,
            "active": True,
        }
        assert node["createdBy"] == U1.user_id
    rows = await world.database.fetch("SELECT provenance FROM memory_heads")
    assert rows == [({"kind": "mutation", "name": "mutationCreateJob"},)]


async def test_the_provenance_of_an_automation_stays(world: World) -> None:
    provenance = {"kind": "automation", "name": "sweep", "trigger": "t"}
    await world.call("mutationCreateJob", {"customerId": "a", "title": "b"}, SYSTEM, provenance=provenance)
    assert await world.database.fetch("SELECT provenance FROM memory_heads") == [(provenance,)]


async def test_arguments_are_refused_before_anything_runs(world: World) -> None:
    await refused(world, "mutationCreateJob", {"title": "x"}, Code.INVALID_ARGUMENT)
    await refused(world, "mutationCreateJob", {"customerId": "a", "title": "x", "p": 1}, Code.INVALID_ARGUMENT)


async def test_a_delete_keeps_its_reason(fixture_world: World) -> None:
    node = await fixture_world.call("mutationDropJob", {"jobId": "j1"}, BOSS)
    assert node["payload"] == {"id": "v1:ops:job:j1", "deleted": True, "reason": "dropped"}


async def test_a_stamped_owner_needs_a_user(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {"notes": {}})
    assert node["payload"]["ownerUserId"] == U1.user_id
    await refused(boards, "mutationAddBoard", {}, Code.FORBIDDEN, guest())


async def test_an_owned_row_is_not_found_by_others(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {})
    await refused(boards, "mutationClear", {"boardId": node["id"]}, Code.NOT_FOUND, U2)
    await refused(boards, "mutationSetStatus", {"boardId": node["id"], "status": "x"}, Code.NOT_FOUND, U2)
    await boards.call("mutationSetStatus", {"boardId": node["id"], "status": "locked"})
    await refused(boards, "mutationClear", {"boardId": node["id"]}, Code.NOT_FOUND, U1)


async def test_an_omitted_argument_leaves_its_key_and_a_null_removes_it(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {"notes": {"a": 1}})
    await boards.call("mutationSetStatus", {"boardId": node["id"], "status": "open"})
    node = await boards.call("mutationSetStatus", {"boardId": node["id"]})
    assert node["payload"]["status"] == "open"
    node = await boards.call("mutationClear", {"boardId": node["id"]})
    assert node["payload"] == {"ownerUserId": U1.user_id, "notes": {"a": 1}}


async def test_a_hundred_parallel_updates_of_distinct_keys_of_one_record_all_survive(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {"notes": {}})

    async def note(number: int) -> None:
        args = {"boardId": node["id"], "key": "k", "value": {f"k{number}": number}}
        await boards.call("mutationNote", args)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(note, number)
    versions = await boards.versions(node["id"])
    assert versions[-1]["notes"] == {f"k{number}": number for number in range(100)}
    assert len(versions) == 101


async def test_deep_merges_remove_nulls_at_any_depth(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {"notes": {"a": {"b": 1, "c": 2}, "d": 3}})
    args = {"boardId": node["id"], "key": "k", "value": {"a": {"b": None, "e": {"f": None, "g": 1}}, "d": None}}
    node = await boards.call("mutationNote", args)
    assert node["payload"]["notes"] == {"a": {"c": 2, "e": {"g": 1}}}


async def test_a_spliced_payload_yields_to_explicit_entries(boards: World) -> None:
    node = await boards.call(
        "mutationLog", {"payload": {"text": "spliced", "at": "2026-03-01T00:00:00Z"}, "text": "mine"}
    )
    assert node["payload"] == {"text": "mine", "at": "2026-03-01T00:00:00Z"}
    await refused(boards, "mutationLog", {"payload": {"text": "x", "createdBy": "me"}}, Code.VALIDATION_FAILED)
    await refused(boards, "mutationLog", {"payload": {"text": "x", "other": 1}}, Code.VALIDATION_FAILED)


async def test_an_idempotent_mutation_writes_once(boards: World) -> None:
    args = {"payload": {"text": "once"}}
    first, again = await boards.call("mutationLog", args), await boards.call("mutationLog", args)
    assert first == again
    assert len(await boards.versions(first["id"])) == 1
    assert len(boards.events) == 1
    await boards.call("mutationDropLog", {"id": first["id"]})
    await boards.call("mutationDropLog", {"id": first["id"]})
    assert len(await boards.versions(first["id"])) == 2


async def test_only_the_system_dates_its_rows(boards: World) -> None:
    node = await boards.call("mutationDated", {"text": "a"})
    assert node["createdAt"] > "2026"
    assert node["createdBy"] == U1.user_id
    node = await boards.call("mutationDated", {"text": "b"}, SYSTEM)
    assert node["createdAt"] == "2020-01-01T00:00:00.000000Z"
    assert node["payload"]["at"] == "2026-03-01T00:00:00.000000Z"


async def test_a_filter_term_on_the_actor_forbids_and_variables_are_read(boards: World) -> None:
    node = await boards.call("mutationLog", {"payload": {"text": "x"}})
    await refused(boards, "mutationAdminOnly", {"logId": node["id"]}, Code.FORBIDDEN, U1)
    node = await boards.call("mutationAdminOnly", {"logId": node["id"]}, BOSS)
    assert node["payload"]["text"] == "hello"
    await boards.raw('insert("v1:platform:globalVariable", payload={name:"GREETING", value:"hi"})')
    node = await boards.call("mutationAdminOnly", {"logId": node["id"]}, BOSS)
    assert node["payload"]["text"] == "hi"


async def test_an_audited_mutation_leaves_one_row_per_run_whatever_its_outcome(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {})
    await boards.call("mutationSetStatus", {"boardId": node["id"], "status": "x"})
    await refused(boards, "mutationSetStatus", {"boardId": "missing", "status": "x"}, Code.NOT_FOUND)
    rows = await boards.database.fetch(
        "SELECT payload, created_by FROM memory_heads WHERE concept = 'v1:platform:auditEntry' ORDER BY created_at"
    )
    success, failure = (payload for payload, _ in rows)
    assert (success["outcome"], success["targetId"], success["actor"]) == ("success", node["id"], U1.user_id)
    assert (failure["outcome"], failure["code"], failure["targetId"]) == ("failure", "NOT_FOUND", "missing")
    assert {created_by for _, created_by in rows} == {"system:audit"}


async def test_ids_of_a_repeated_run_are_the_same(boards: World) -> None:
    ids = [(await boards.call("mutationAddBoard", {}, U1, ids=IdSequence(("run-1", "s1"))))["id"] for _ in range(2)]
    assert ids[0] == ids[1]


async def test_a_mutation_joins_the_transaction_of_its_caller(boards: World) -> None:
    events: list[Any] = []

    async def work(connection: Connection) -> None:
        node = await boards.call("mutationAddBoard", {}, connection=connection, deferred=events)
        await boards.call(
            "mutationSetStatus", {"boardId": node["id"], "status": "x"}, connection=connection, deferred=events
        )
        raise MemqlError(Code.CONFLICT, "changed my mind")

    with pytest.raises(MemqlError, match="changed my mind"):
        await boards.database.transaction(work)
    assert await boards.database.fetch("SELECT * FROM memory_nodes") == []
    assert not boards.events


async def test_a_write_and_its_audit_row_commit_together(boards: World) -> None:
    node = await boards.call("mutationAddBoard", {})
    await boards.call("mutationSetStatus", {"boardId": node["id"], "status": "x"})
    xids = await boards.database.fetch(
        "SELECT xid FROM memory_nodes WHERE concept = 'v1:platform:auditEntry' OR updated"
    )
    assert len(xids) == 2
    assert len(set(xids)) == 1
    assert [event.topic.rpartition(".")[2] for event in boards.events[1:]] == [
        "v1:ops:board",
        "v1:ops:board",
        "v1:platform:auditEntry",
    ]


async def test_a_retried_mutation_gives_up_only_after_its_count(
    boards: World, boards_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from memql.engine.write.pipeline import Pipeline
    from memql.lang.catalog import Retry

    mutation = replace(boards_catalog.mutations["mutationDated"], retry=Retry(2))
    failures = [MemqlError(Code.UNAVAILABLE, "away")] * 2
    run = Pipeline.run

    async def flaky(self: Any, intent: Any, ctx: Any) -> Any:
        if failures:
            raise failures.pop()
        return await run(self, intent, ctx)

    monkeypatch.setattr(Pipeline, "run", flaky)
    await boards.writer.mutate(mutation, {"text": "a"}, boards.context(U1))
    failures.extend([MemqlError(Code.UNAVAILABLE, "away")] * 3)
    with pytest.raises(MemqlError, match="away"):
        await boards.writer.mutate(mutation, {"text": "b"}, boards.context(U1))
    failures[:] = [MemqlError(Code.VALIDATION_FAILED, "never")]
    with pytest.raises(MemqlError, match="never"):
        await boards.writer.mutate(mutation, {"text": "c"}, boards.context(U1))
