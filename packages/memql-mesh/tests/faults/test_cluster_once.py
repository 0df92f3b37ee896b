"""What happens once in a cluster, however many nodes could do it: runs of automations, and firings of schedules."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from fleet import QUICK, RUNS, Fleet, fleet
from runs import firings, guard, wait_until_run
from tally import show
from traffic import logged, write

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(200)]

REPLICAS = ("cognition-1", "cognition-2")
EVENTS = 500
SETTLED = 10.0
"""Seconds in which the replica that lost the race for the last events has noticed."""

ROLES = ("identity-1", "bff-1", "cognition-1", "voice-1", "agent-1", "planner-1", "workbench-1")
HANDOVERS = 8
HANDED_OVER_WITHIN = 5.0
"""Seconds until another node leads: half a second by the clock, and what a busy machine adds."""

LEASE = 15.0
"""Seconds until the run of a killed leader is carried on by another node."""

_REIGNS = "SELECT epoch, count(DISTINCT fired_by), count(*), min(scheduled_at) FROM cron_firings GROUP BY 1 ORDER BY 1"


async def decided(nodes: Fleet, events: int) -> list[dict[str, object]]:
    """What the guards of the replicas have decided, once they have decided about so many events, twice each."""
    with anyio.move_on_after(SETTLED):
        while True:
            rows = await guard(nodes, REPLICAS)
            if total(rows, "claimed") + total(rows, "duplicates_prevented") >= 2 * events:
                return rows
            await anyio.sleep(0.1)
    return await guard(nodes, REPLICAS)


def total(rows: list[dict[str, object]], outcome: str) -> int:
    return sum(int(str(row[outcome])) for row in rows)


async def test_an_event_that_reaches_two_replicas_is_run_by_one_of_them_and_both_count_it(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    async with fleet(dsn, tmp_path) as nodes:
        for name in REPLICAS:
            await nodes.start(name, **QUICK, MEMQL_DSL_PATH=RUNS)
        await nodes.start("bff-1", **QUICK)
        await nodes.ready()
        await nodes.whole()
        await write(nodes, "bff-1", range(EVENTS))
        events = await logged(database)
        runs = await wait_until_run(nodes, database, "onUtterance", len(events), 30)
        rows = await decided(nodes, len(events))
    show(f"{len(events)} events that reached both replicas", rows)
    show("runs", [{"calls": runs.calls.total(), "effects": runs.rows.total(), "doubled": runs.doubled}])
    assert len(events) == EVENTS
    assert runs.calls == runs.rows
    assert (len(runs.rows), runs.doubled) == (EVENTS, 0)
    assert total(rows, "claimed") == total(rows, "duplicates_prevented") == EVENTS
    assert all(int(str(row["claimed"])) for row in rows)


# --- the leader ------------------------------------------------------------------------------------------------------


async def leaders(nodes: Fleet) -> list[str]:
    """The nodes that say that they fire schedules."""
    found = []
    for name, node in nodes.nodes.items():
        status, text = await nodes.get(node, "/metrics")
        if status == 200 and "\nmemql_cron_leader 1.0" in text:
            found.append(name)
    return found


async def leader(nodes: Fleet, but: str = "") -> str:
    """The node that leads, once there is one, and it is another one."""
    with anyio.fail_after(20):
        while True:
            found = await leaders(nodes)
            if len(found) == 1 and found[0] != but:
                return found[0]
            await anyio.sleep(0.02)


async def fires(database: Database, since: int) -> None:
    """Wait until something has fired that had not."""
    with anyio.fail_after(20):
        while (await firings(database))[0] <= since:  # noqa: ASYNC110  other processes
            await anyio.sleep(0.02)


async def hand_over(nodes: Fleet, database: Database, how: signal.Signals) -> tuple[str, str, float]:
    """End the leader; who it was, who leads then, and after how many seconds. The node starts again."""
    old = await leader(nodes)
    began = anyio.current_time()
    nodes.signal(old, how)
    new = await leader(nodes, but=old)
    took = anyio.current_time() - began
    await nodes.gone(old)
    await nodes.start(old)
    await nodes.ready(old)
    await fires(database, (await firings(database))[0])
    return old, new, took


async def test_one_node_of_all_roles_leads_and_hands_over_when_it_is_killed_or_drains(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    rows: list[Mapping[str, object]] = []
    async with fleet(dsn, tmp_path) as nodes:
        for name in ROLES:
            await nodes.start(name, **QUICK, MEMQL_DSL_PATH=RUNS)
        await nodes.ready()
        await leader(nodes)
        await fires(database, 0)
        for turn in range(HANDOVERS):
            how = (signal.SIGKILL, signal.SIGTERM)[turn % 2]
            old, new, took = await hand_over(nodes, database, how)
            rows.append({"ended": old, "by": how.name, "leads then": new, "after": took})
        fired, instants = await firings(database)
        ticks = await wait_until_run(nodes, database, "everySecond", fired, LEASE + 10)
        reigns = await database.fetch(_REIGNS)
        said = await leaders(nodes)
    show(f"hand-overs among {len(ROLES)} nodes of {len(ROLES)} roles", rows)
    show(
        "the schedule",
        [
            {
                "reigns": len(reigns),
                "instants": instants,
                "fired": fired,
                "calls": ticks.calls.total(),
                "effects": ticks.rows.total(),
            }
        ],
    )
    assert len(said) == 1
    assert max(float(str(row["after"])) for row in rows) < HANDED_OVER_WITHIN
    assert [one for _, one, _, _ in reigns] == [1] * len(reigns)
    assert [first for *_, first in reigns] == sorted(first for *_, first in reigns)
    assert len(reigns) > HANDOVERS
    assert fired == instants <= len(ticks.rows)
    assert max(ticks.rows.values()) == 1
