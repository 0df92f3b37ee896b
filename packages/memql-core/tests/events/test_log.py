from __future__ import annotations

from datetime import UTC
from typing import Any

import anyio
import pytest
from psycopg import AsyncConnection

from memql.events import Event
from memql.events.graph_events import graph_events
from memql.events.horizon import Beginning
from memql.events.log import EventLog
from memql.events.masking import SecretMask
from memql.events.outbox import Outbox
from memql.graph.database import Connection, Database
from memql.graph.embedded import EmbeddedServer
from memql.graph.log import NewVersion, append
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources

pytestmark = pytest.mark.anyio

TREE = load_tree(
    read_sources().over(Sources({"lab/concepts.memql": "@rowAuthz(public)\nconcept safe { pin string @secret }"}))
).require()


def version(short: str, **members: object) -> NewVersion:
    given: dict[str, object] = {
        "id": f"v1:ops:job:{short}",
        "concept": "v1:ops:job",
        "created_by": "system:test",
        "schema": {"$id": "v1.ops.job"},
        "payload": {"title": short},
        "provenance": {"kind": "direct", "name": "raw"},
    }
    return NewVersion(**(given | members))  # type: ignore[arg-type]


async def settles(source: EventLog | Outbox, upto: int) -> int:
    """Wait until a position is settled; transactions of other tests, in other databases, hold it back."""
    with anyio.fail_after(60):
        while (reached := await source.settled()) < upto:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return reached


async def test_a_version_is_read_as_the_events_its_writer_published(database: Database) -> None:
    log = EventLog(database)
    await append(database, version("a", payload={"status": "open", "id": "shadow"}))
    await append(database, version("a", payload={"status": "done"}, updated=True))
    await append(database, version("a", payload={"id": "v1:ops:job:a", "deleted": True}, deleted=True))
    events = await log.read(0, await settles(log, 3), 10)
    assert [(event.id, event.topic) for event in events] == [
        ("g:1:created", "graph.node.created.v1:ops:job"),
        ("g:2:created", "graph.node.created.v1:ops:job"),
        ("g:2:updated", "graph.node.updated.v1:ops:job"),
        ("g:3:deleted", "graph.node.deleted.v1:ops:job"),
    ]
    first, _, updated, deleted = events
    assert first.payload["id"] == first.payload["nodeId"] == "v1:ops:job:a"
    assert first.payload["payload"] == {"status": "open", "id": "shadow"}
    assert updated.payload["oldStatus"] == "open"
    assert deleted.kind == "NODE_DELETED"
    assert deleted.log_seq == 3


SHADOWS = {"id": "shadow", "createdAt": "then", "payload": "own", "oldStatus": "none"}
SAID: dict[str, Any] = {
    "status": "open",
    'quo"ted': "a\\b",
    "share": 1.5,
    "count": 2**60,
    "deep": {"list": [1, None, "ü", {"a": False}]},
}


@pytest.mark.parametrize("payload", [SAID, SAID | SHADOWS, {}], ids=["plain", "shadows", "empty"])
@pytest.mark.parametrize("secret", [False, True], ids=["open", "secret"])
async def test_what_the_log_says_is_what_the_writer_said(
    database: Database, secret: bool, payload: dict[str, Any]
) -> None:
    mask = SecretMask(lambda: TREE if secret else Catalog(version=""))
    log = EventLog(database, mask)
    await append(database, version("a", payload=payload, concept="v1:lab:safe"))
    second = await append(
        database, version("a", payload=payload | {"pin": "1234"}, concept="v1:lab:safe", updated=True)
    )
    told = graph_events(
        seq=2,
        id="v1:ops:job:a",
        concept="v1:lab:safe",
        node_type="object",
        actor="system:test",
        created_at=second.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        timestamp=second.created_at,
        payload=mask("v1:lab:safe", payload | {"pin": "1234"}),
        updated=True,
        old_status=payload.get("status"),
    )
    read = (await log.read(0, await settles(log, 2), 10))[1:]
    assert ("1234" in str(read[0].payload)) is not secret
    for ours, theirs in zip(read, told, strict=True):
        assert ours.payload == theirs.payload
        assert ours.replace(body={}) == theirs.replace(body={})


async def test_the_cause_of_an_automations_write_is_read_from_its_provenance(database: Database) -> None:
    log = EventLog(database)
    provenance = {"kind": "automation", "name": "b", "trigger": "t", "via": "a"}
    await append(database, version("a", provenance=provenance))
    (event,) = await log.read(0, await settles(log, 1), 10)
    assert event.cause == "a>b"


async def test_other_concepts_are_left_out_on_request(database: Database) -> None:
    log = EventLog(database)
    await append(database, version("a"))
    await append(database, version("x", id="v1:ops:visit:x", concept="v1:ops:visit"))
    upto = await settles(log, 2)
    events = await log.read(0, upto, 10, concepts=["v1:ops:visit"])
    assert [event.log_seq for event in events] == [2]
    assert await log.visible_after(1) == {2}
    assert await log.oldest() == 1


async def test_a_position_is_not_settled_while_a_lower_number_may_still_commit(database: Database) -> None:
    log = EventLog(database)
    drawn, finish = anyio.Event(), anyio.Event()

    async def slow(connection: Connection) -> None:
        await append(connection, version("slow"))
        drawn.set()
        await finish.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(database.transaction, slow)
        await drawn.wait()
        await append(database, version("fast"))
        assert await log.settled() == 0
        assert await log.visible_after(0) == {2}
        finish.set()
    assert await settles(log, 2) == 2
    assert [event.log_seq for event in await log.read(0, 2, 10)] == [1, 2]


async def test_a_transaction_that_draws_late_is_waited_for(database: Database) -> None:
    """Its id is older than that of a transaction that has already finished with a higher number."""
    log = EventLog(database)
    begun, draw = anyio.Event(), anyio.Event()

    async def late(connection: Connection) -> None:
        await connection.execute("SELECT pg_current_xact_id()")
        begun.set()
        await draw.wait()
        await append(connection, version("late"))

    async with anyio.create_task_group() as group:
        group.start_soon(database.transaction, late)
        await begun.wait()
        await append(database, version("early"))
        assert await log.settled() == 0
        draw.set()
    assert await settles(log, 2) == 2


async def test_a_transaction_of_another_database_holds_nothing_back(
    database: Database, dsn: str, postgres: EmbeddedServer
) -> None:
    """While one of this database does, however it compares with the other."""
    log, other = EventLog(database), EventLog(database)
    async with await AsyncConnection.connect(postgres.dsn) as elsewhere:
        await elsewhere.execute("SELECT pg_current_xact_id()")
        await append(database, version("a"))
        assert await settles(log, 1) == 1
        async with await AsyncConnection.connect(dsn) as here:
            await here.execute("SELECT pg_current_xact_id()")
            await append(database, version("b"))
            assert await log.settled() == 1
            assert await other.settled() == 0
        assert await settles(log, 2) == await settles(other, 2) == 2


async def test_an_idle_log_costs_no_transaction_ids(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(database)
    await append(database, version("a"))
    await settles(log, 1)
    asked: list[str] = []
    fetch_one = Database.fetch_one

    async def watched(self: Database, statement: str, *rest: Any, **more: Any) -> Any:
        asked.append(statement)
        return await fetch_one(self, statement, *rest, **more)

    monkeypatch.setattr(Database, "fetch_one", watched)
    for _ in range(5):
        assert await log.settled() == 1
    assert len(asked) == 5
    assert not [statement for statement in asked if "xact_id" in statement]


async def test_a_reader_is_given_only_what_committed_after_it_began(database: Database) -> None:
    log = EventLog(database)
    drawn, finish = anyio.Event(), anyio.Event()

    async def slow(connection: Connection) -> None:
        await append(connection, version("slow"))
        drawn.set()
        await finish.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(database.transaction, slow)
        await drawn.wait()
        await append(database, version("fast"))
        ((snapshot, drawn_last),) = await database.fetch(
            "SELECT pg_current_snapshot()::text, last_value FROM memory_seq"
        )
        finish.set()
    await append(database, version("later"))
    events = await log.read(0, await settles(log, 3), 10, since=Beginning(snapshot, drawn_last))
    assert [event.log_seq for event in events] == [1, 3]
    past = await log.read(0, 3, 10, since=Beginning("1000000000:1000000000:", drawn_last))
    assert [event.log_seq for event in past] == [3]


async def test_the_outbox_keeps_an_event_once_and_gives_it_back(database: Database) -> None:
    outbox = Outbox(database, "node-1")
    event = Event(id="e1", topic="ops.swept", body={"seen": 2}, actor="system:automation:sweep", cause="sweep")
    await outbox.append(event)
    await outbox.append(event)
    ((position, read),) = await outbox.read(0, await settles(outbox, 1), 10)
    assert (read.id, read.topic, read.payload, read.actor, read.cause) == (
        "e1",
        "ops.swept",
        {"seen": 2},
        "system:automation:sweep",
        "sweep",
    )
    assert position > 0
    assert await outbox.prune(3600) == 0
    assert await outbox.prune(0) == 1


async def test_an_outbox_row_of_a_rolled_back_transaction_is_not_there(database: Database) -> None:
    outbox = Outbox(database, "node-1")

    async def work(connection: Connection) -> None:
        await outbox.append(Event(id="e1", topic="a", body={}), connection)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await database.transaction(work)
    assert await outbox.read(0, await settles(outbox, 1), 10) == []
