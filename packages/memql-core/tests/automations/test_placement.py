"""Nodes that lack an executor: what they leave to others, and that the others run it once and at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from nursery import nursery
from plant import Process, place_order, plant, process, settled, until
from structlog.testing import capture_logs

from memql.auth import Actor
from memql.automations import Options
from memql.automations.compiled import compile_tree
from memql.automations.placement import executors_of, place
from memql.automations.places import nowhere
from memql.engine.context import RequestContext
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

BUILTINS = """
@enabled @executor("plant.touch") builtin plantTouch { what string! }
@enabled @executor("plant.smell") builtin plantSmell { what string! }
"""
TOUCHING = (
    BUILTINS
    + """
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation touch { step t { logic touch { event: event } } }
logic logicTouch {
  args { event object! }
  body {
    where := plantTouch({ what: args.event.payload.item })
    written := mutationTick({ at: args.event.payload.item, by: where })
    return where
  }
}
"""
)
EVERY_SECOND = (
    BUILTINS
    + """
@enabled @trigger(schedule="* * * * * *")
automation touchEverySecond { step t { logic touchAt { at: event.payload.scheduledAt } } }
logic logicTouchAt {
  args { at string! }
  body {
    where := plantTouch({ what: args.at })
    written := mutationTick({ at: args.at, by: where })
    return where
  }
}
"""
)
SPAWNING = (
    BUILTINS
    + """
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation parent { step child { automation child { item: event.payload.item } } }
@enabled @async @trigger(event="plant.never")
automation child { args { item string! } step t { logic touchItem { item: args.item } } }
logic logicTouchItem {
  args { item string! }
  body {
    where := plantTouch({ what: args.item })
    written := mutationTick({ at: args.item, by: where })
    return where
  }
}
"""
)
CONTAINING = (
    BUILTINS
    + """
@enabled @trigger(event="plant.x") automation plain { step s { mutation tick { at: "x" } } }
@enabled @trigger(event="plant.x") automation direct { step s { builtin plantTouch { what: "x" } } }
@enabled @trigger(event="plant.x") automation deep { step s { logic one { what: "x" } } }
@enabled @trigger(event="plant.x") automation argued { step s { mutation tick { at: plantSmell({ what: "x" }) } } }
@enabled @trigger(event="plant.x")
automation tested { step s { if plantTouch({ what: "x" }) == "y" { mutation tick { at: "x" } } } }
@enabled @trigger(event="plant.x") automation outer { step s { automation direct { } } step t { automation later { } } }
@enabled @async @trigger(event="plant.x") automation later { step s { builtin plantSmell { what: "x" } } }
logic logicOne {
  args { what string! }
  body {
    if args.what == "y" { for x := range [1, 2] { found := logicTwo({ what: args.what }) } }
    return 1
  }
}
logic logicTwo {
  args { what string! }
  body { a := plantTouch({ what: args.what }) return concat(a, plantSmell({ what: args.what })) }
}
"""
)
BOSS = Actor(user_id="v1:identity:user:boss", role="admin")
TICKS = "SELECT payload ->> 'at', payload ->> 'by' FROM memory_nodes WHERE concept = 'v1:plant:tick' ORDER BY 1"
OPTIONS = {"read_every": 0.05, "take_over_every": 0.05, "leader_poll": 0.05}


async def ticks(database: Database) -> list[tuple[str, str]]:
    return [(at, by) for at, by in await database.fetch(TICKS)]


async def touch(args: Any, ctx: RequestContext) -> str:
    return "here"


@asynccontextmanager
async def node(dsn: str, role: str, *texts: str, able: bool) -> AsyncIterator[Process]:
    async with Database.open(dsn) as database:
        executors = {"plant.touch": touch} if able else {}
        options = Options(cursor=f"role:{role}", **OPTIONS)  # type: ignore[arg-type]
        async with process(database, plant(*texts), node=role, options=options, executors=executors) as one:
            yield one


async def test_what_an_automation_needs_is_read_from_its_steps_logic_and_contained_automations() -> None:
    catalog = plant(CONTAINING)
    tree = compile_tree(catalog)
    needs = {name: sorted(executors_of(tree[name], tree, catalog)) for name in tree}
    assert {name: needs[name] for name in ("plain", "direct", "deep", "argued", "tested", "outer", "later")} == {
        "plain": [],
        "direct": ["plant.touch"],
        "deep": ["plant.smell", "plant.touch"],
        "argued": ["plant.smell"],
        "tested": ["plant.touch"],
        "outer": ["plant.touch"],
        "later": ["plant.smell"],
    }
    placement = place(tree, catalog, {"plant.touch"})
    assert {"plain", "direct", "tested", "outer"} <= set(placement.runnable)
    assert placement.missing == {name: {"plant.smell"} for name in ("deep", "argued", "later")}


async def test_the_standard_executors_are_everywhere(database: Database) -> None:
    measuring = """
    @enabled @executor("core.geo.distance")
    builtin geo { fromLatitude float! fromLongitude float! toLatitude float! toLongitude float! }
    @enabled @trigger(event="plant.go")
    automation measure {
      step s { builtin geo { fromLatitude: 0.0, fromLongitude: 0.0, toLatitude: 1.0, toLongitude: 1.0 } }
    }
    """
    async with process(database, plant(measuring)) as one:
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        assert one.automations.counts.runs_completed == 1


def test_an_automation_runs_nowhere_only_when_no_one_place_has_all_it_needs() -> None:
    needs = {"a": frozenset({"x"}), "b": frozenset({"x", "y"}), "c": frozenset({"z", "x"}), "d": frozenset[str]()}
    places = [frozenset({"x"}), frozenset({"y"})]
    assert nowhere(needs, places) == {"b": {"y"}, "c": {"z"}}
    assert nowhere(needs, [frozenset({"x", "y", "z"})]) == {}


async def test_an_event_runs_on_the_node_that_has_the_executor(database: Database, dsn: str, tmp_path: Path) -> None:
    catalog = plant(TOUCHING)
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        lacking = await raised.spawn(TOUCHING, executors=(), cursor="role:bff")
        able = await raised.spawn(TOUCHING, executors=("plant.touch",), cursor="role:planner")
        await raised.all_ready()
        for number in range(30):
            await place_order(database, catalog, f"o{number:02}")
        with anyio.fail_after(30):
            while len(await ticks(database)) < 30:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        idle, busy = await raised.stop(lacking), await raised.stop(able)
    assert await ticks(database) == [(f"o{number:02}", able) for number in range(30)]
    assert (idle["claimed"], idle["duplicates_prevented"], busy["claimed"], busy["runs_completed"]) == (0, 0, 30, 30)


async def test_events_from_before_the_able_node_came_back_run_when_it_does(database: Database, dsn: str) -> None:
    async with node(dsn, "planner", TOUCHING, able=True):
        pass
    async with node(dsn, "bff", TOUCHING, able=False):
        await place_order(database, plant(TOUCHING), "o1")
        await anyio.sleep(0.2)
        assert await ticks(database) == []
        async with node(dsn, "planner", TOUCHING, able=True) as able:
            await settled(able, 1)
    assert await ticks(database) == [("o1", "here")]


async def test_a_leader_fires_what_it_cannot_run_and_the_able_node_runs_it_at_once(
    database: Database, dsn: str
) -> None:
    async with node(dsn, "bff", EVERY_SECOND, able=False) as leader:
        await until(lambda: leader.automations.is_cron_leader)
        async with node(dsn, "planner", EVERY_SECOND, able=True) as able:
            await until(lambda: able.automations.counts.runs_completed >= 4)
            assert not able.automations.is_cron_leader
            left, adopted = leader.automations.counts, able.automations.counts
            assert left.runs_completed == 0
            assert left.left_to_others == left.cron_fired
            assert adopted.take_overs == 0
            assert adopted.adopted >= 4
            waits = await database.fetch(
                "SELECT claim.claimed_at - firing.fired_at < interval '5 s', claim.epoch "
                "FROM cron_firings AS firing JOIN automation_execution_claims AS claim "
                "ON claim.dedup_key = 'cron:' || memql_moment(firing.scheduled_at) WHERE claim.completed_at IS NOT NULL"
            )
            assert len(waits) >= 3
            assert set(waits) == {(True, 1)}, "a lease is 15 s"
    ran = await ticks(database)
    assert len(ran) == len({at for at, _ in ran})


async def test_a_firing_that_nobody_came_for_is_given_up_after_the_window_of_missed_schedules(
    database: Database, dsn: str
) -> None:
    async with node(dsn, "bff", EVERY_SECOND, able=False) as leader:
        await until(lambda: leader.automations.counts.left_to_others >= 1)
        await leader.automations.prune()
        open_claims = "SELECT count(*) FROM automation_execution_claims WHERE completed_at IS NULL"
        assert await database.fetch_one(open_claims) != (0,)
        await database.execute("UPDATE automation_execution_claims SET lease_until = lease_until - interval '2 hours'")
        await leader.automations.prune()
        row = await database.fetch_one("SELECT outcome FROM automation_execution_claims ORDER BY started_at LIMIT 1")
        assert row == ("abandoned",)


async def test_a_run_whose_node_died_is_taken_over_by_a_node_that_has_the_executor(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    napping = TOUCHING.replace("where := plantTouch", 'a := plantSmell({ what: "x" })\n    where := plantTouch')
    catalog = plant(napping)
    executors = ("plant.touch", "plant.smell")
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        lacking = [await raised.spawn(napping, executors=("plant.smell",), cursor="role:bff") for _ in range(2)]
        victim = await raised.spawn(napping, executors=executors, cursor="role:planner")
        await raised.all_ready()
        raised.signal(victim, signal.SIGSTOP)
        await database.execute(
            "INSERT INTO automation_execution_claims (automation_name, dedup_key, claimed_by, lease_until, event) "
            "SELECT 'touch', 'g:0:created', %s, clock_timestamp(), convert_to(%s, 'UTF8')",
            (f"{victim}/x", EVENT),
        )
        raised.signal(victim, signal.SIGKILL)
        await anyio.sleep(0.5)
        assert await ticks(database) == []
        able = await raised.spawn(napping, executors=executors, cursor="role:planner")
        with anyio.fail_after(30):
            while not await ticks(database):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert (await raised.stop(able))["take_overs"] == 1
        assert [(await raised.stop(one))["take_overs"] for one in lacking] == [0, 0]
    assert await ticks(database) == [("dead", able)]
    assert catalog.automations


EVENT = (
    '{"id":"g:0:created","topic":"graph.node.created.v1:plant:order","kind":"NODE_CREATED",'
    '"timestamp":"2026-01-01T00:00:00Z","payload":{"item":"dead"}}'
)


async def test_a_spawned_automation_runs_on_the_node_that_has_the_executor(database: Database, dsn: str) -> None:
    async with node(dsn, "bff", SPAWNING, able=False) as spawner:
        await spawner.order("o1")
        await settled_here(spawner, 1)
        assert spawner.automations.counts.left_to_others == 1
        assert await ticks(database) == []
        async with node(dsn, "planner", SPAWNING, able=True) as able:
            await settled_here(able, 1)
            assert able.automations.counts.adopted == 1
    assert await ticks(database) == [("o1", "here")]


async def settled_here(one: Process, runs: int) -> None:
    await until(lambda: one.automations.counts.runs_completed >= runs)


async def test_what_runs_nowhere_is_told_once_and_refused_by_hand(database: Database, dsn: str) -> None:
    with capture_logs() as logs:
        async with node(dsn, "bff", TOUCHING, able=False) as lacking:
            told = [line for line in logs if line["event"] == "automation_runs_nowhere"]
            assert [(line["automation"], line["missing_executors"]) for line in told] == [("touch", ["plant.touch"])]
            assert told[0]["log_level"] == "warning"
            with pytest.raises(MemqlError, match=r"'plant\.touch'") as refused:
                async for _ in lacking.automations.run("touch", {}, actor=BOSS):
                    pass
            assert refused.value.code is Code.UNAVAILABLE
            assert refused.value.details == {"executors": ["plant.touch"]}
    async with node(dsn, "planner", TOUCHING, able=True):
        pass
    with capture_logs() as logs:
        async with node(dsn, "bff", TOUCHING, able=False):
            pass
    assert not [line for line in logs if line["event"] == "automation_runs_nowhere"]


async def test_a_new_tree_is_placed_anew(database: Database, dsn: str) -> None:
    free = '@enabled @trigger(event="plant.go") automation go { step t { mutation tick { at: "x" } } }'
    bound = (
        BUILTINS + '@enabled @trigger(event="plant.go") automation go { step t { builtin plantTouch { what: "x" } } }'
    )
    async with node(dsn, "bff", bound, able=False) as one:
        one.bus.publish(Event(id="1", topic="plant.go", body={}))
        await anyio.wait_all_tasks_blocked()
        catalog = plant(free)
        one.engine.use(catalog)
        one.automations.use(catalog)
        await anyio.wait_all_tasks_blocked()
        one.bus.publish(Event(id="2", topic="plant.go", body={}))
        await settled(one, 1)
        assert one.automations.counts.claimed == 1
