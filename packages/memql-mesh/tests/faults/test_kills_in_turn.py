"""Each process of a mesh killed in its turn: the others find its successor, and whoever waited for it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from fleet import QUICK, RUNS, Fleet, fleet
from runs import firings, wait_until_run
from tally import show

from memql.client import Client, Reconnect, connect
from memql.errors import Code, MemqlError
from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(400)]

NODES = ("bff-1", "cognition-1", "cognition-2", "agent-1", "agent-2")
LEADER = "the cron leader"
ROUNDS = 20
WHOLE_WITHIN = 20.0
"""Seconds from the start of the successor's process to a whole mesh: its start, and the longest wait of those whose
first dial came too early."""

LEASE = 15.0
"""Seconds until the run of a killed leader is carried on by another node."""

NAP = 0.5
ENDS_WITHIN = NAP + 5.0
"""Seconds that a request may take whose node dies: the kernel tells at once that it is gone."""


@dataclass
class Asked:
    """What became of the requests that one node forwarded."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def note(self, outcome: str, seconds: float) -> None:
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, seconds)


async def nap(client: Client) -> Any:
    return await client.query("fleetNap", seconds=NAP)


async def suggest(client: Client) -> Any:
    return await client.si.suggest("spaceTitle", {"text": "The pump of hall three leaks. It was repaired in May."})


async def keep_asking(nodes: Fleet, node_id: str, asked: Asked, *, task_status: TaskStatus[None]) -> None:
    """Have a node ask agents all the time, in three ways at once."""
    quick = Reconnect(initial=0.1, maximum=0.5)
    async with connect(nodes.nodes[node_id].grpc, reconnect=quick) as client, anyio.create_task_group() as tasks:
        task_status.started()
        for ask in (nap, nap, suggest):
            tasks.start_soon(ask_and_ask, client, ask, asked)


async def ask_and_ask(client: Client, ask: Any, asked: Asked) -> None:
    while True:
        if client.status != "connected":
            await anyio.sleep(0.05)
            continue
        began = anyio.current_time()
        try:
            await ask(client)
            outcome = "answered"
        except MemqlError as error:
            outcome = error.code.value
            await anyio.sleep(0.05)
        asked.note(outcome, anyio.current_time() - began)


async def leader(nodes: Fleet) -> str:
    """The node that fires schedules."""
    with anyio.fail_after(15):
        while True:
            for name in NODES:
                if await nodes.metric(nodes.nodes[name], "memql_cron_leader"):
                    return name
            await anyio.sleep(0.1)


async def test_twenty_rounds_of_kills_heal_without_a_restart_of_the_others(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    turns = [*NODES, LEADER]
    asked = {name: Asked() for name in ("bff-1", "cognition-1", "cognition-2")}
    healed: dict[str, list[float]] = {name: [] for name in turns}
    async with fleet(dsn, tmp_path) as nodes:
        for name in NODES:
            naps = {"FLEET_NAPS": "1"} if name.startswith("agent") else {}
            await nodes.start(name, **QUICK, **naps, MEMQL_DSL_PATH=RUNS)
        await nodes.ready()
        await nodes.whole()
        async with anyio.create_task_group() as askers:
            for name, record in asked.items():
                await askers.start(keep_asking, nodes, name, record)
            for turn in range(ROUNDS):
                victim = turns[turn % len(turns)]
                name = await leader(nodes) if victim == LEADER else victim
                nodes.kill(name)
                await nodes.gone(name)
                await nodes.start(name)
                healed[victim].append(await nodes.whole(seconds=WHOLE_WITHIN))
            askers.cancel_scope.cancel()
        with anyio.fail_after(10):
            while any(nodes.nodes[name].view()["asking"] for name in NODES):  # noqa: ASYNC110  other processes
                await anyio.sleep(0.1)
        serving = [await nodes.metric(nodes.nodes[name], "memql_mesh_forwards_running") for name in NODES]
        fired, instants = await firings(database)
        ticks = await wait_until_run(nodes, database, "everySecond", fired, LEASE + 10)
    show(
        f"{ROUNDS} kills",
        [{"victim": name, "kills": len(times), "longest to heal": max(times)} for name, times in healed.items()],
    )
    show(
        "requests meanwhile",
        [{"asked by": name, **_shown(record), "slowest": record.slowest} for name, record in asked.items()],
    )
    show("the schedule", [{"instants": instants, "fired": fired, "effects": len(ticks.rows)}])
    assert {outcome for one in asked.values() for outcome in one.outcomes} <= {"answered", Code.UNAVAILABLE.value}
    assert all(one.outcomes["answered"] > 100 for one in asked.values())
    assert max(one.slowest for one in asked.values()) < ENDS_WITHIN
    assert sum(serving) == 0
    assert fired == instants <= len(ticks.rows)
    assert max(ticks.rows.values()) == 1


def _shown(record: Asked) -> dict[str, object]:
    return {"answered": record.outcomes["answered"], "UNAVAILABLE": record.outcomes["UNAVAILABLE"]}
