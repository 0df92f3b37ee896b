"""Every connection to the database cut, again and again, while nodes start and run: no node dies of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import pytest
from fleet import QUICK, RUNS, Fleet, fleet
from runs import firings, guard, wait_until_run
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = ("bff-1", "cognition-1", "cognition-2", "agent-1")
STARTS = 5
"""Of each node, one after another."""

EVENTS = 300
SECONDS = 10.0
CUTS_EVERY = 0.2
LEASE = 15.0
"""Seconds after which a run whose end could not be written is carried on."""

_CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'memql'"
)


@dataclass
class Cuts:
    """What was cut."""

    times: int = 0
    connections: int = 0
    deaths: Counter[str] = field(default_factory=Counter)


async def cut(dsn: str, cuts: Cuts) -> None:
    """End every session of every node, over and over."""
    async with Database.open(dsn, application_name="cutter") as database:
        while True:
            row = await database.fetch_one(_CUT)
            assert row is not None
            cuts.times += 1
            cuts.connections += row[0]
            await anyio.sleep(CUTS_EVERY)


async def start_over_and_over(nodes: Fleet, name: str, cuts: Cuts) -> None:
    """Start a node, wait until it is ready, kill it; the last life stays."""
    for turn in range(STARTS):
        await nodes.start(name)
        await wait_until_ready_or_dead(nodes, name, cuts)
        if turn < STARTS - 1:
            nodes.kill(name)
            await nodes.gone(name)


async def wait_until_ready_or_dead(nodes: Fleet, name: str, cuts: Cuts) -> None:
    node = nodes.nodes[name]
    with anyio.fail_after(60):
        while (await nodes.get(node, "/readyz"))[0] != 200:
            if not node.alive:
                cuts.deaths[name] += 1
                return
            await anyio.sleep(0.05)


async def test_nodes_start_and_run_while_every_connection_is_cut_five_times_a_second(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    starting, running = Cuts(), Cuts()
    async with fleet(dsn, tmp_path) as nodes:
        for name in NODES:
            nodes.add(name, **QUICK, MEMQL_DSL_PATH=RUNS)
        async with anyio.create_task_group() as cutting:
            cutting.start_soon(cut, dsn, starting)
            async with anyio.create_task_group() as starts:
                for name in NODES:
                    starts.start_soon(start_over_and_over, nodes, name, starting)
            cutting.cancel_scope.cancel()
        show(f"{STARTS} starts of each of {len(NODES)} nodes", [_shown(starting)])
        assert not starting.deaths, "".join(node.log.read_text()[-2000:] for node in nodes.nodes.values())
        pids = [nodes.nodes[name].pid for name in NODES]
        async with anyio.create_task_group() as cutting:
            cutting.start_soon(cut, dsn, running)
            async with anyio.create_task_group() as writers:
                for number, name in enumerate(("cognition-1", "agent-1")):
                    numbers = range(number, EVENTS, 2)
                    writers.start_soon(partial(write, nodes, name, numbers, seconds=SECONDS))
            cutting.cancel_scope.cancel()
        same = [nodes.nodes[name].pid for name in NODES if nodes.nodes[name].alive] == pids
        assert same, "".join(node.log.read_text()[-2000:] for node in nodes.nodes.values())
        await nodes.ready()
        healed = await nodes.whole(seconds=30)
        events = await logged(database)
        await wait_until_seen(nodes, NODES, events, 30)
        rows = sightings(nodes, NODES, events)
        runs = await wait_until_run(nodes, database, "onUtterance", len(events), 2 * LEASE)
        fired, instants = await firings(database)
        ticks = await wait_until_run(nodes, database, "everySecond", fired, 2 * LEASE)
        decided = await guard(nodes, NODES)
    show(f"while they ran; whole {healed:.1f} s after the last cut", [_shown(running)])
    show("events written meanwhile", rows)
    show("what the guards decided", decided)
    show(
        "automations",
        [
            {"automation": name, "wanted": wanted, "calls": one.calls.total(), "effects": one.rows.total()}
            for name, wanted, one in (("onUtterance", len(events), runs), ("everySecond", instants, ticks))
        ],
    )
    assert running.times >= SECONDS
    assert len(events) >= EVENTS
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
    assert len(runs.rows) == len(events)
    assert max(runs.rows.values()) == 1
    assert fired == instants <= len(ticks.rows)
    assert max(ticks.rows.values()) == 1


def _shown(cuts: Cuts) -> dict[str, object]:
    return {"cuts": cuts.times, "connections ended": cuts.connections, "nodes died": cuts.deaths.total()}
