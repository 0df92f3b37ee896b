"""Nodes between which the network is cut: they notice, are reached another way, and decide nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import pytest
from fleet import QUICK, RUNS, Fleet, fleet
from network import Cable, cable
from runs import firings, guard, leaders, runs_of, wait_until_run
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.errors import MemqlError
from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = ("bff-1", "cognition-1", "cognition-2", "agent-1", "agent-2")
CUT = (("bff-1", "cognition-1"), ("cognition-2", "agent-1"))
"""A node loses the hub, and another one loses the agent that it asks."""

SECONDS = 30.0
NOTICED_WITHIN = 5.0 + 1.0 + 2.0
"""The limit of silence, one heartbeat, and what a busy machine adds."""
EVENTS = 600


@dataclass
class Observed:
    """What was seen while the network was cut."""

    noticed: float = 0.0
    leaders: Counter[int] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@asynccontextmanager
async def wired(nodes: Fleet) -> AsyncIterator[list[Cable]]:
    """Add the nodes, those of each pair that will be cut joined by cables, one for each direction."""
    for name in NODES:
        nodes.add(name, **QUICK, MEMQL_DSL_PATH=RUNS)
    async with AsyncExitStack() as stack:
        cables: list[Cable] = []
        for pair in CUT:
            for own, other in (pair, pair[::-1]):
                laid = await stack.enter_async_context(cable(nodes.nodes[other].service))
                nodes.detour(own, nodes.nodes[other].service, laid.address)
                cables.append(laid)
        yield cables


async def notice(nodes: Fleet, observed: Observed) -> None:
    """Wait until both ends of every cut have given their streams up."""
    began = anyio.current_time()
    ends = [(own, other) for pair in CUT for own, other in (pair, pair[::-1])]
    while any(other in nodes.nodes[own].view()["streams"] for own, other in ends):  # noqa: ASYNC110  other processes
        await anyio.sleep(0.05)
    observed.noticed = anyio.current_time() - began


async def count_leaders(nodes: Fleet, observed: Observed) -> None:
    while True:
        observed.leaders[await leaders(nodes)] += 1
        await anyio.sleep(0.5)


async def ask(nodes: Fleet, observed: Observed) -> None:
    """Have the node that has lost an agent ask for suggestions, one after another."""
    async with nodes.client("cognition-2") as client:
        while True:
            began = anyio.current_time()
            try:
                await client.si.suggest("spaceTitle", {"text": "The pump of hall three leaks. It was repaired in May."})
                observed.asked["answered"] += 1
            except MemqlError as error:
                observed.asked[error.code.value] += 1
            observed.slowest = max(observed.slowest, anyio.current_time() - began)
            await anyio.sleep(0.1)


async def test_a_cut_of_thirty_seconds_is_noticed_and_nothing_is_lost_or_decided_twice(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    observed = Observed()
    async with fleet(dsn, tmp_path) as nodes, wired(nodes) as cables:
        for name in NODES:
            await nodes.start(name)
        await nodes.ready()
        await nodes.whole()
        async with anyio.create_task_group() as watchers:
            watchers.start_soon(count_leaders, nodes, observed)
            watchers.start_soon(ask, nodes, observed)
            for one in cables:
                one.cut()
            with anyio.move_on_after(SECONDS):
                async with anyio.create_task_group() as traffic:
                    traffic.start_soon(notice, nodes, observed)
                    for number, name in enumerate(("cognition-1", "cognition-2")):
                        numbers = range(number, EVENTS, 2)
                        traffic.start_soon(partial(write, nodes, name, numbers, seconds=SECONDS / 2))
                events = await logged(database)
                await wait_until_seen(nodes, NODES, events, SECONDS)
                meanwhile = sightings(nodes, NODES, events)
                await anyio.sleep_forever()
            for one in cables:
                one.heal()
            healed = await nodes.whole(seconds=40)
            await anyio.sleep(2)
            watchers.cancel_scope.cancel()
        for row in meanwhile:
            row["from the log"] = await nodes.metric(nodes.nodes[str(row["node"])], "memql_mesh_events_from_log_total")
        runs = await wait_until_run(nodes, database, "onUtterance", EVENTS, 30)
        ticks = await runs_of(nodes, database, "everySecond")
        fired, instants = await firings(database)
        decided = await guard(nodes, NODES)
        rows = sightings(nodes, NODES, events)
    show(f"while {' and '.join(map('-'.join, CUT))} were cut; noticed after {observed.noticed:.1f} s", meanwhile)
    show(f"whole again {healed:.1f} s after the cut ended", rows)
    show("what the guards decided", decided)
    show(
        "decided once",
        [
            {"automation": name, "wanted": wanted, "calls": one.calls.total(), "effects": one.rows.total()}
            for name, wanted, one in (("onUtterance", len(events), runs), ("everySecond", instants, ticks))
        ],
    )
    show(
        "seen while cut",
        [{"leaders": dict(observed.leaders), "asked": dict(observed.asked), "slowest answer": observed.slowest}],
    )
    assert len(events) == EVENTS
    assert 0 < observed.noticed < NOTICED_WITHIN
    assert [(row["lost"], row["doubled"]) for row in meanwhile] == [(0, 0)] * len(NODES)
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
    assert runs.calls == runs.rows
    assert (len(runs.rows), runs.doubled, ticks.doubled) == (EVENTS, 0, 0)
    assert fired == instants >= SECONDS
    assert max(observed.leaders) == 1
    assert set(observed.asked) == {"answered"}
    assert observed.slowest < NOTICED_WITHIN
