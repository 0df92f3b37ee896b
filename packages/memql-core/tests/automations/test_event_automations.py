from __future__ import annotations

from typing import Any

import anyio
import psycopg
import pytest
from plant import BOOKING, Process, caught_up, open_transaction, place_order, plant, process, settled, until

from memql.automations import Options
from memql.engine.context import RequestContext
from memql.events import Event
from memql.events.outbox import Outbox
from memql.graph.database import Connection, Database
from memql.graph.log import NewVersion, append

pytestmark = pytest.mark.anyio

LATE = NewVersion(
    id="v1:plant:order:late",
    concept="v1:plant:order",
    created_by="system:test",
    schema={"$id": "v1.plant.order"},
    payload={"item": "late", "amount": 1},
    provenance={"kind": "direct", "name": "raw"},
)
QUICK = Options(read_every=0.05, take_over_every=0.05, lease=1.0)


async def test_a_new_row_runs_the_automation_once(database: Database) -> None:
    async with process(database, plant(BOOKING), options=QUICK) as one:
        await one.order("o1", 5)
        await settled(one, 1)
        await one.automations._replays[0]._read()
        assert await one.count("entry") == 2
        (total,) = await one.do("concept==v1:plant:total")
        assert total["payload"] == {"name": "o1", "amount": 5, "count": 1}
        assert total["createdBy"] == "system:automation:bookOrder"
        assert one.automations.counts.claimed == 1


async def test_writes_say_which_automation_made_them_and_what_triggered_it(database: Database) -> None:
    async with process(database, plant(BOOKING), options=QUICK) as one:
        await one.order("o1")
        await settled(one, 1)
        row = await database.fetch_one("SELECT DISTINCT provenance FROM memory_nodes WHERE concept = 'v1:plant:entry'")
        assert row is not None
        assert row[0] == {"kind": "automation", "name": "bookOrder", "trigger": "graph.node.created.v1:plant:order"}


async def test_an_event_that_came_twice_runs_once(database: Database) -> None:
    async with process(database, plant(BOOKING), options=QUICK) as one:
        await one.order("o1")
        await settled(one, 1)
        (event,) = [event for event in one.events if event.topic == "graph.node.created.v1:plant:order"]
        one.bus.publish(event)
        await one.automations._dispatcher.dispatch(event)
        await anyio.wait_all_tasks_blocked()
        assert await one.count("entry") == 2


async def test_one_event_in_two_processes_runs_in_one(database: Database, dsn: str) -> None:
    async with (
        Database.open(dsn) as other,
        process(database, plant(BOOKING), node="a", options=QUICK) as one,
        process(other, plant(BOOKING), node="b", options=QUICK) as two,
    ):
        for number in range(20):
            await one.order(f"o{number}")
            for event in one.events:
                two.bus.publish(event)
        first, second = one.automations.counts, two.automations.counts
        await until(lambda: first.runs_completed + second.runs_completed == 20)
        assert await one.count("entry") == 40
        assert {row["payload"]["count"] for row in await one.do("concept==v1:plant:total")} == {1}


async def test_a_row_written_while_no_process_ran_is_caught_up_with(database: Database) -> None:
    catalog = plant(BOOKING)
    async with process(database, catalog, options=QUICK):
        pass
    await place_order(database, catalog, "o1")
    async with process(database, catalog, options=QUICK) as one:
        await settled(one, 1)
        assert await one.count("entry") == 2


async def test_rows_from_before_the_first_start_trigger_nothing(database: Database) -> None:
    await place_order(database, plant(), "o1")
    async with process(database, plant(BOOKING), options=QUICK) as one:
        await one.order("o2")
        await settled(one, 1)
        await caught_up(one)
        assert one.automations.counts.claimed == 1


async def test_what_happened_before_the_first_start_triggers_nothing_though_it_was_not_settled(
    database: Database, dsn: str
) -> None:
    """Neither in the process that made the cursor nor in one that finds it later."""
    taking = '@enabled @trigger(event="plant.#") automation take { step t { mutation tick { at: event.topic } } }'
    catalog = plant(BOOKING, taking)
    async with open_transaction(dsn):
        await place_order(database, catalog, "before")
        await Outbox(database, "other").append(Event(id="before", topic="plant.before", body={}))
        async with process(database, catalog, options=QUICK) as one:
            await one.order("o1")
            await settled(one, 1)
        await place_order(database, catalog, "between")
        await Outbox(database, "other").append(Event(id="between", topic="plant.between", body={}))
    async with process(database, catalog, options=QUICK) as two:
        await settled(two, 2)
        await caught_up(two)
    booked = await database.fetch("SELECT id FROM memory_heads WHERE concept = 'v1:plant:total' ORDER BY id")
    assert booked == [("v1:plant:total:between",), ("v1:plant:total:o1",)]
    ticks = await database.fetch("SELECT payload ->> 'at' FROM memory_nodes WHERE concept = 'v1:plant:tick'")
    assert ticks == [("plant.between",)]


async def test_a_row_that_commits_after_the_first_start_triggers_though_its_number_is_older(
    database: Database, dsn: str
) -> None:
    catalog = plant(BOOKING)
    drawn, commit = anyio.Event(), anyio.Event()

    async def late(connection: Connection) -> None:
        await append(connection, LATE)
        drawn.set()
        await commit.wait()

    async with Database.open(dsn) as other, anyio.create_task_group() as group:
        group.start_soon(other.transaction, late)
        await drawn.wait()
        await place_order(database, catalog, "before")
        async with process(database, catalog, options=QUICK) as one:
            commit.set()
            await settled(one, 1)
            await caught_up(one)
            assert one.automations.counts.claimed == 1
            (total,) = await one.do("concept==v1:plant:total")
            assert total["payload"]["name"] == "late"


async def test_filters_and_arguments_decide_before_anything_runs(database: Database) -> None:
    picky = """
    @enabled @trigger(event="node.created", concept="v1:plant:order") @filter(payload.amount > 10)
    automation bigOrder {
      args { amount int! nodeId string! }
      step note { mutation addEntry { orderId: args.nodeId, amount: args.amount, note: event.kind } }
    }
    @enabled @trigger(event="plant.note")
    automation typed { args { amount int! } step note { mutation tick { at: toString(args.amount) } } }
    """
    async with process(database, plant(picky), options=QUICK) as one:
        await one.order("small", 3)
        await one.order("big", 30)
        one.bus.publish(Event(id="x", topic="plant.note", body={"amount": "no number"}))
        one.bus.publish(Event(id="y", topic="plant.note", body={"amount": 7}))
        await settled(one, 2)
        (entry,) = await one.do("concept==v1:plant:entry")
        assert entry["payload"] == {"orderId": "v1:plant:order:big", "amount": 30, "note": "node_created"}
        assert await one.count("tick") == 1
        assert one.automations.counts.refused_events == 1


async def test_steps_see_earlier_results_and_may_be_skipped(database: Database) -> None:
    steps = """
    @enabled @trigger(event="plant.go")
    automation chain {
      step one { mutation tick { at: "one" } }
      step two { if steps.one.result.First().at == "none" { mutation tick { at: "two" } } }
      step three { mutation tick { at: concat("after-", steps.one.result.First().at) } }
      step tell { publishEvent { topic: "plant.done", payload: { ran: steps.two.status } } }
    }
    """
    async with process(database, plant(steps), options=QUICK) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        ticks = {row["payload"]["at"] for row in await one.do("concept==v1:plant:tick")}
        assert ticks == {"one", "after-one"}
        (done,) = [event for event in one.events if event.topic == "plant.done"]
        assert done.payload == {"ran": "skipped"}
        assert done.cause == "chain"
        assert await database.fetch_one("SELECT topic FROM event_outbox") == ("plant.done",)


def from_elsewhere(event: Event, **changed: Any) -> Event:
    """The event as the mesh brings it: from another node, with its payload still in JSON."""
    return event.replace(body=event.json, **{"origin": "node-b", **changed})


async def test_events_of_other_nodes_trigger_as_local_ones_do_and_each_once(database: Database, dsn: str) -> None:
    async with (
        Database.open(dsn) as other,
        process(database, plant(BOOKING), node="a", options=QUICK) as one,
        process(other, plant(BOOKING), node="b", options=Options(read_every=3600, lease=1.0)) as two,
    ):
        await one.order("o1", 5)
        (event,) = [event for event in one.events if event.topic == "graph.node.created.v1:plant:order"]
        for _ in range(3):
            two.bus.publish(from_elsewhere(event))
        two.bus.publish(from_elsewhere(Event(id="x", topic="graph.node.created.v1:plant:order", body=event.payload)))
        first, second = one.automations.counts, two.automations.counts
        await until(lambda: first.runs_completed + second.runs_completed == 2)
        await until(lambda: second.claimed + second.duplicates_prevented == 2)
        assert second.claimed >= 1
        assert await one.count("entry") == 4


async def test_events_that_clients_of_this_node_asked_for_trigger_nothing(database: Database) -> None:
    async with process(database, plant(BOOKING), options=Options(read_every=3600)) as one:
        payload = {"item": "x", "amount": 1, "nodeId": "v1:plant:order:x", "payload": {"item": "x", "amount": 1}}
        seen = Event(id="g:9:created", topic="graph.node.created.v1:plant:order", body=payload)
        one.bus.publish(from_elsewhere(seen, demanded=True))
        one.bus.publish(from_elsewhere(seen.replace(id="g:10:created")))
        await settled(one, 1)
        assert one.automations.counts.claimed == 1
        rows = await database.fetch("SELECT dedup_key FROM automation_execution_claims")
        assert rows == [("g:10:created",)]


async def test_what_runs_of_another_node_tell_triggers_nothing_here(database: Database) -> None:
    watching = """
    @enabled @trigger(event="automation.failed") automation watch { step t { mutation tick { at: event.topic } } }
    """
    async with process(database, plant(watching), options=QUICK) as one:
        failed = Event(id="f1", topic="automation.failed", body={}, kind="AUTOMATION_FAILED")
        one.bus.publish(from_elsewhere(failed))
        one.bus.publish(failed.replace(id="f2"))
        await settled(one, 1)
        await anyio.wait_all_tasks_blocked()
        assert one.automations.counts.claimed == 1


async def test_a_repeated_attempt_tells_events_of_its_own_and_a_repeated_run_the_same_ones(database: Database) -> None:
    failing = """
    @enabled @retry(count=1) @trigger(event="plant.go") automation fail { step bad { logic bad { event: event } } }
    logic logicBad { args { event object } body { return error("no luck") } }
    """
    told: list[list[str]] = []
    for _ in range(2):
        async with process(database, plant(failing), options=Options(retry_delay=0.01)) as one:
            one.bus.publish(Event(id="x", topic="plant.go", body={}))
            await settled(one, 1)
            told.append([event.id for event in one.events if event.topic.startswith("automation.")])
        await database.execute("DELETE FROM automation_execution_claims")
    assert len(told[0]) == len(set(told[0])) == 7
    assert told[0] == told[1]


async def test_a_published_event_triggers_automations_of_other_processes(database: Database, dsn: str) -> None:
    sender = '@enabled @trigger(event="plant.go") automation send { step s { publishEvent { topic: "plant.sent" } } }'
    taker = '@enabled @trigger(event="plant.sent") automation take { step t { mutation tick { at: event.topic } } }'
    async with (
        Database.open(dsn) as other,
        process(database, plant(sender), node="a", options=QUICK) as one,
        process(other, plant(taker), node="b", options=Options(read_every=0.05, cursor="other")) as two,
    ):
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(two, 1)
        assert await two.count("tick") == 1


async def test_a_ring_of_automations_is_stopped(database: Database) -> None:
    ring = """
    @enabled @trigger(event="node.created", concept="v1:plant:tick")
    automation again { step t { mutation tick { at: "again" } } }
    """
    async with process(database, plant(ring), options=Options(read_every=0.05, chain=5)) as one:
        await one.do('insert("v1:plant:tick", payload={at:"first"})')
        await settled(one, 5)
        await until(lambda: one.automations.counts.loops_stopped == 1)
        assert await one.count("tick") == 6
        row = await database.fetch_one("SELECT provenance ->> 'via' FROM memory_nodes ORDER BY seq DESC LIMIT 1")
        assert row == ("again>again>again>again",)


async def test_a_failing_run_is_tried_again_as_often_as_asked_and_then_told(database: Database) -> None:
    failing = """
    @enabled @retry(count=2) @trigger(event="plant.go")
    automation fail { step first { mutation tick { at: "first" } } step bad { logic bad { event: event } } }
    logic logicBad { args { event object } body { return error("no luck") } }
    """
    async with process(database, plant(failing), options=Options(read_every=0.05, retry_delay=0.01)) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        topics = [event.topic for event in one.events if event.topic.startswith("automation.")]
        assert topics.count("automation.started") == 3
        assert topics[-1] == "automation.failed"
        assert await one.count("tick") == 1
        versions = await database.fetch_one("SELECT count(*) FROM memory_nodes WHERE concept = 'v1:plant:tick'")
        assert versions == (1,)
        row = await database.fetch_one("SELECT outcome, error FROM automation_execution_claims")
        assert row == ("failed", "INVALID_ARGUMENT: no luck")


async def test_an_atomic_automation_leaves_nothing_when_it_fails(database: Database) -> None:
    atomic = """
    @enabled @atomic @trigger(event="plant.go")
    automation whole { step first { mutation tick { at: "first" } } step bad { logic bad { event: event } } }
    logic logicBad { args { event object } body { return error("no luck") } }
    """
    async with process(database, plant(atomic), options=QUICK) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        assert await one.count("tick") == 0
        assert not [event for event in one.events if event.topic.startswith("graph.")]


async def test_a_run_that_takes_too_long_is_stopped(database: Database) -> None:
    slow = """
    @enabled @timeout("20ms") @trigger(event="plant.go")
    automation slow { step t { logic spin { event: event } } }
    logic logicSpin {
      args { event object }
      body { for x := range args.event.payload.many { for y := range args.event.payload.many { z := x + y } } return 1 }
    }
    """
    async with process(database, plant(slow), options=QUICK) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={"many": list(range(300))}))
        await settled(one, 1)
        row = await database.fetch_one("SELECT outcome, error FROM automation_execution_claims")
        assert row is not None
        assert row[0] == "failed"
        assert "TIMEOUT" in row[1]


async def test_automations_call_one_another(database: Database) -> None:
    nested = """
    @enabled @trigger(event="plant.go")
    automation outer {
      step inner { automation inner { at: "nested" } }
      step later { automation later { at: "spawned" } }
    }
    @enabled @trigger(event="plant.never")
    automation inner { args { at string! } step t { mutation tick { at: args.at } } }
    @enabled @async @trigger(event="plant.never")
    automation later { args { at string! } step t { mutation tick { at: args.at } } }
    """
    async with process(database, plant(nested), options=QUICK) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 2)
        ticks = {row["payload"]["at"]: row["createdBy"] for row in await one.do("concept==v1:plant:tick")}
        assert ticks == {"nested": "system:automation:inner", "spawned": "system:automation:later"}


async def test_a_new_tree_takes_over_without_losing_events(database: Database) -> None:
    old = '@enabled @trigger(event="plant.old") automation x { step t { mutation tick { at: "old" } } }'
    new = '@enabled @trigger(event="plant.new") automation x { step t { mutation tick { at: "new" } } }'
    async with process(database, plant(old), options=QUICK) as one:
        one.bus.publish(Event(id="1", topic="plant.old", body={}))
        await settled(one, 1)
        catalog = plant(new)
        one.engine.use(catalog)
        one.automations.use(catalog)
        await anyio.wait_all_tasks_blocked()
        one.bus.publish(Event(id="2", topic="plant.new", body={}))
        one.bus.publish(Event(id="3", topic="plant.old", body={}))
        await settled(one, 2)
        assert {row["payload"]["at"] for row in await one.do("concept==v1:plant:tick")} == {"old", "new"}


async def test_an_audited_automation_leaves_one_row_per_run(database: Database) -> None:
    audited = """
    @enabled @audit @trigger(event="plant.go") automation good { step t { mutation tick { at: "x" } } }
    @enabled @audit @retry(count=1) @trigger(event="plant.go") automation bad { step t { logic bad { event: event } } }
    logic logicBad { args { event object } body { return error("no luck") } }
    """
    async with process(database, plant(audited), options=Options(retry_delay=0.01)) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 2)
        rows = [row["payload"] for row in await one.do("concept==v1:platform:auditEntry")]
        told = {(row["construct"], row["kind"], row["actor"], row["outcome"], row.get("code")) for row in rows}
        assert told == {
            ("good", "automation", "system:automation:good", "success", None),
            ("bad", "automation", "system:automation:bad", "failure", "INVALID_ARGUMENT"),
        }
        assert len(rows) == 2


async def test_a_run_survives_losing_its_database_connection(database: Database, dsn: str) -> None:
    cutting = """
    @enabled @executor("plant.cut") builtin plantCut { when string! }
    @enabled @trigger(event="plant.go")
    automation go {
      step one { mutation tick { at: "one" } }
      step cut { builtin plantCut { when: "now" } }
      step two { mutation tick { at: "two" } }
    }
    """
    cuts = 0

    async def cut(args: Any, ctx: RequestContext) -> str:
        nonlocal cuts
        cuts += 1
        if cuts == 1:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        return "cut"

    async with process(database, plant(cutting), options=QUICK, executors={"plant.cut": cut}) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        assert one.automations.counts.runs_completed == 1
        rows = await database.fetch("SELECT payload ->> 'at' FROM memory_nodes WHERE concept = 'v1:plant:tick'")
        assert sorted(at for (at,) in rows) == ["one", "two"]


RATED = """
@enabled @rateLimit(requests=2, per="1s") @trigger(event="node.created", concept="v1:plant:order")
automation bookOrder { step book { logic book { event: event } } }
"""


def begun(one: Process) -> list[float]:
    return [event.timestamp.timestamp() for event in one.events if event.topic == "automation.started"]


async def test_runs_above_the_rate_wait_and_none_is_lost(database: Database) -> None:
    async with process(database, plant(RATED), options=QUICK) as one:
        for number in range(5):
            await one.order(f"o{number}")
        await settled(one, 5)
        counts = one.automations.counts
        assert (counts.runs_completed, counts.take_overs) == (5, 0)
        assert counts.deferred >= 3
        starts = begun(one)
        assert all(later - earlier >= 0.95 for earlier, later in zip(starts, starts[2:], strict=False))
        assert await one.count("entry") == 10


async def test_a_run_that_waits_holds_up_neither_the_cursor_nor_other_automations(database: Database) -> None:
    slowly = RATED.replace("requests=2", "requests=1").replace('"1s"', '"1h"')
    other = BOOKING.replace("bookOrder", "bookAtOnce")
    async with process(database, plant(slowly, other), options=QUICK) as one:
        for number in range(3):
            await one.order(f"o{number}")
        await until(lambda: one.automations.counts.deferred == 2)
        await until(lambda: one.automations.counts.runs_completed == 4)
        await caught_up(one)


async def test_a_run_that_waits_outlives_its_process(database: Database) -> None:
    rated = plant(RATED.replace("requests=2", "requests=1"))
    async with process(database, rated, options=QUICK) as one:
        await one.order("o1")
        await one.order("o2")
        await until(lambda: one.automations.counts.deferred == 1 and one.automations.counts.runs_completed == 1)
    async with process(database, rated, node="other", options=QUICK) as two:
        await settled(two, 1)
        assert (two.automations.counts.runs_completed, two.automations.counts.take_overs) == (1, 0)
        assert await two.count("entry") == 4
