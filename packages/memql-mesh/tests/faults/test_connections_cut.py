"""Every connection to the database cut, again and again, while nodes start and run: no node dies of it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import anyio
import pytest
from cutting import Cuts, cut
from fleet import QUICK, RUNS, Fleet, fleet
from runs import allowed_repetitions, firings, guard, wait_until_run
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = ("bff-1", "cognition-1", "cognition-2", "agent-1")
STARTS = 5
"""Of each node, one after another."""

EVENTS = 300
SECONDS = 10.0
LEASE = 15.0
"""Seconds after which a run whose end could not be written is carried on."""


async def start_over_and_over(nodes: Fleet, name: str, deaths: Counter[str]) -> None:
    """Start a node, wait until it is ready, kill it; the last life stays."""
    for turn in range(STARTS):
        await nodes.start(name)
        await wait_until_ready_or_dead(nodes, name, deaths)
        if turn < STARTS - 1:
            nodes.kill(name)
            await nodes.gone(name)


async def wait_until_ready_or_dead(nodes: Fleet, name: str, deaths: Counter[str]) -> None:
    node = nodes.nodes[name]
    with anyio.fail_after(60):
        while (await nodes.get(node, "/readyz"))[0] != 200:
            if not node.alive:
                deaths[name] += 1
                return
            await anyio.sleep(0.05)


async def test_nodes_start_and_run_while_every_connection_is_cut_five_times_a_second(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    starting, running, deaths = Cuts(), Cuts(), Counter[str]()
    async with fleet(dsn, tmp_path) as nodes:
        for name in NODES:
            nodes.add(name, **QUICK, MEMQL_DSL_PATH=RUNS)
        async with anyio.create_task_group() as cutting:
            cutting.start_soon(cut, dsn, starting)
            async with anyio.create_task_group() as starts:
                for name in NODES:
                    starts.start_soon(start_over_and_over, nodes, name, deaths)
            cutting.cancel_scope.cancel()
        show(f"{STARTS} starts of each of {len(NODES)} nodes", [{**vars(starting), "nodes died": deaths.total()}])
        assert not deaths, "".join(node.log.read_text()[-2000:] for node in nodes.nodes.values())
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
    show(f"while they ran; whole {healed:.1f} s after the last cut", [vars(running)])
    show("events written meanwhile", rows)
    show("what the guards decided", decided)
    show(
        "automations",
        [
            {"automation": name, "wanted": wanted, "calls": one.calls.total(), "effects": one.rows.total()}
            for name, wanted, one in (("onUtterance", len(events), runs), ("everySecond", instants, ticks))
        ],
    )
    assert running.cuts >= SECONDS
    assert len(events) >= EVENTS
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
    assert len(runs.rows) == len(events)
    assert max(runs.rows.values()) == 1
    assert runs.calls.total() - len(events) <= allowed_repetitions(decided)
    assert fired == instants <= len(ticks.rows)
    assert max(ticks.rows.values()) == 1
