"""The database restarts under a mesh: the nodes ride it out, nothing is lost, and nothing happens twice."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from fleet import QUICK, RUNS, Fleet, fleet
from own_postgres import own_postgres
from psycopg.conninfo import make_conninfo
from runs import allowed_repetitions, firings, guard, leaders, wait_until_run
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.client import connect
from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = ("bff-1", "cognition-1", "agent-1")
AWAY = 18.0
"""Seconds that the database is away: longer than the guard takes to go on without it. It waits five seconds for a
connection, and five more for a claim that was asked for while it waited."""

SESSIONS = 6
EVENTS = 400
AT_ONCE = 15.0
"""Seconds in which a node ends that waiting does not help, on a busy machine; others wait for sixty."""

STOPPED_WITHIN = 20.0
"""Seconds in which a node stops that cannot write its last words: five for those of the mesh, three for those of the
automations, two for the streams, and what a busy machine adds."""

LEASE = 15.0
"""Seconds after which a run that the restart interrupted is carried on."""


@dataclass
class Away:
    """What was seen while the database was away."""

    ready: int = 0
    alive: int = 0
    leaders: int = 0
    fired: int = 0
    unguarded: int = 0
    runs_of_sessions: int = 0
    back_after: float = 0.0


async def statuses(nodes: Fleet, path: str) -> int:
    """How many nodes answer 200 there."""
    return sum([(await nodes.get(node, path))[0] == 200 for node in nodes.nodes.values()])


def calls(nodes: Fleet, automation: str) -> int:
    return sum(node.runs(automation).total() for node in nodes.nodes.values())


def sessions(nodes: Fleet) -> int:
    """How often a session of the hub was run for; the writer's are those of another node."""
    return nodes.nodes["bff-1"].runs("onSession").total()


async def look_around(nodes: Fleet, seen: Away) -> None:
    """Once everybody must have noticed: nothing fires any more, and what needs no database goes on, counted."""
    await anyio.sleep(2)
    fired = calls(nodes, "everySecond")
    before = sessions(nodes)
    seen.leaders = await leaders(nodes)
    for _ in range(SESSIONS):
        async with connect(nodes.nodes["bff-1"].grpc):
            pass
    with anyio.move_on_after(AWAY - 4):
        while sessions(nodes) - before < SESSIONS:  # noqa: ASYNC110  other processes
            await anyio.sleep(0.2)
    seen.runs_of_sessions = sessions(nodes) - before
    (hub,) = await guard(nodes, ["bff-1"])
    seen.unguarded = int(str(hub["unguarded"]))
    seen.ready, seen.alive = await statuses(nodes, "/readyz"), await statuses(nodes, "/healthz")
    seen.fired = calls(nodes, "everySecond") - fired


async def back(nodes: Fleet) -> float:
    """Wait until every node is ready and one leads; gives how many seconds that took."""
    began = anyio.current_time()
    with anyio.fail_after(30):
        while await statuses(nodes, "/readyz") < len(NODES) or await leaders(nodes) != 1:  # noqa: ASYNC110
            await anyio.sleep(0.1)
    return anyio.current_time() - began


@dataclass
class Started:
    """What became of a node that was started while the database was away, or did not want it."""

    node: str
    why: str
    ended: str = "-"
    after: float = 0.0


async def ends(nodes: Fleet, name: str, why: str, dsn: str, **more: str) -> Started:
    """Start a node that is to give up; what it said last."""
    began = anyio.current_time()
    await nodes.start(name, **{"MEMQL_DATABASE_DSN": dsn, **more})
    await nodes.gone(name)
    said = [line for line in nodes.nodes[name].log.read_text().splitlines() if "MemqlError: " in line]
    return Started(name, why, said[-1].rpartition("MemqlError: ")[2].partition(":")[0], anyio.current_time() - began)


async def wait_until_it_waits(nodes: Fleet, name: str) -> None:
    with anyio.fail_after(30):
        while "waits for the database" not in nodes.nodes[name].log.read_text():  # noqa: ASYNC110  another process
            await anyio.sleep(0.05)


async def ask_guests_for_a_password(database: Database) -> None:
    """Have the server know a user who must show a password."""
    row = await database.fetch_one("SHOW hba_file")
    assert row is not None
    await database.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
    await database.execute(f"COPY (VALUES ('local all guest scram-sha-256'), ('local all all trust')) TO '{row[0]}'")
    await database.execute("SELECT pg_reload_conf()")


async def test_nodes_that_start_without_the_database_wait_for_it_unless_it_refuses_them(tmp_path: Path) -> None:
    waiting = ("bff-1", "agent-1")
    async with own_postgres() as postgres, fleet(postgres.dsn, tmp_path) as nodes:
        async with Database.open(postgres.dsn) as database:
            await ask_guests_for_a_password(database)
        guest = {"user": "guest", "password": "wrong"}
        gave_up = [
            await ends(nodes, "voice-1", "wrong password", make_conninfo(postgres.dsn, **guest)),
            await ends(nodes, "voice-2", "unknown database", make_conninfo(postgres.dsn, dbname="nowhere")),
            await ends(nodes, "voice-3", "malformed DSN", "postgresql://x@host/x?nonsense=1"),
        ]
        await postgres.stop()
        for name in waiting:
            await nodes.start(name)
        for name in waiting:
            await wait_until_it_waits(nodes, name)
        gave_up.append(await ends(nodes, "voice-4", "away for too long", postgres.dsn, MEMQL_DATABASE_PATIENCE="1s"))
        alive = [nodes.nodes[name].alive for name in waiting]
        began = anyio.current_time()
        await postgres.start()
        await nodes.ready(*waiting)
        ready = anyio.current_time() - began
        whole = ready + await nodes.whole(*waiting)
        await postgres.stop()
        began = anyio.current_time()
        for name in waiting:
            nodes.signal(name, signal.SIGTERM)
        for name in waiting:
            await nodes.gone(name)
        left = anyio.current_time() - began
        crashes = [name for name in waiting if "Traceback" in nodes.nodes[name].log.read_text()]
        await postgres.start()
    show("nodes that give up", [vars(one) for one in gave_up])
    show(
        f"{len(waiting)} nodes waited for the database, and left without it",
        [{"ready after": ready, "whole after": whole, "gone after": left, "crashed": len(crashes)}],
    )
    assert alive == [True] * len(waiting)
    assert [one.ended for one in gave_up] == ["CONFIG_INVALID"] * 3 + ["UNAVAILABLE"]
    assert max(one.after for one in gave_up) < AT_ONCE
    assert not crashes
    assert left < STOPPED_WITHIN


async def test_a_mesh_rides_out_a_stop_and_a_crash_of_its_database(tmp_path: Path) -> None:
    stop, crash = Away(), Away()
    async with own_postgres() as postgres, fleet(postgres.dsn, tmp_path) as nodes:
        for name in NODES:
            await nodes.start(name, **QUICK, MEMQL_DSL_PATH=RUNS)
        await nodes.ready()
        pids = [nodes.nodes[name].pid for name in NODES]
        async with anyio.create_task_group() as writing:
            writing.start_soon(partial(write, nodes, "cognition-1", range(EVENTS), seconds=6))
            await anyio.sleep(2)
            await postgres.stop()
            async with anyio.create_task_group() as meanwhile:
                meanwhile.start_soon(anyio.sleep, AWAY)
                meanwhile.start_soon(look_around, nodes, stop)
            await postgres.start()
            stop.back_after = await back(nodes)
            writing.start_soon(partial(write, nodes, "agent-1", range(EVENTS, 2 * EVENTS), seconds=3))
            await anyio.sleep(1)
            await postgres.crash()
            await anyio.sleep(1)
            await postgres.start()
            crash.back_after = await back(nodes)
        async with Database.open(postgres.dsn) as database:
            events = await logged(database)
            await wait_until_seen(nodes, NODES, events, 30)
            rows = sightings(nodes, NODES, events)
            runs = await wait_until_run(nodes, database, "onUtterance", len(events), LEASE + 15)
            fired, instants = await firings(database)
            ticks = await wait_until_run(nodes, database, "everySecond", fired, LEASE + 15)
            decided = await guard(nodes, NODES)
        same = pids == [nodes.nodes[name].pid for name in NODES] and all(nodes.nodes[name].alive for name in NODES)
    show(f"while the database was away for {AWAY:g} s", [vars(stop)])
    show("after it came back, and after a crash", [{"stop": stop.back_after, "crash": crash.back_after}])
    show("events written around it", rows)
    show("what the guards decided", decided)
    show(
        "automations",
        [
            {"automation": name, "wanted": wanted, "calls": one.calls.total(), "effects": one.rows.total()}
            for name, wanted, one in (("onUtterance", len(events), runs), ("everySecond", instants, ticks))
        ],
    )
    assert same
    assert (stop.ready, stop.alive) == (0, len(NODES))
    assert (stop.leaders, stop.fired) == (0, 0)
    assert stop.unguarded >= stop.runs_of_sessions == SESSIONS
    assert len(events) >= 2 * EVENTS
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
    assert fired == instants <= len(ticks.rows)
    assert max(ticks.rows.values()) == 1
    assert len(runs.rows) == len(events)
    assert max(runs.rows.values()) == 1
    assert runs.calls.total() - len(events) <= allowed_repetitions(decided)
