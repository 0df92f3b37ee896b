"""The worked examples of logic and automations, on a running process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from plant import SYSTEM, Process, process, settled

from memql.automations import Options
from memql.engine.context import RequestContext
from memql.graph.database import Database
from memql.lang.loader import Sources, load_tree

pytestmark = pytest.mark.anyio

ROWS = (
    'insert("v1:ops:customer", id="acme", payload={name:"Acme", tier:"gold", ownerUserId:"u1", prefs:{}})',
    'insert("v1:ops:job", id="j1", payload={customerId:"acme", title:"Boiler", priority:1, '
    'dueAt:"2026-03-05T00:00:00Z"})',
    'insert("v1:ops:job", id="j2", payload={customerId:"acme", title:"Radiator", status:"done"})',
    'insert("v1:ops:job", id="j3", payload={customerId:"acme", title:"Valve", status:"scheduled", priority:2, '
    'dueAt:"2026-03-10T00:00:00Z"})',
)
FOLLOW_UP = "437de407"
TOPIC = "graph.node.created.v1:ops:visit"


@pytest.fixture
async def ops(database: Database, ops_tree: Sources) -> AsyncIterator[Process]:
    catalog = load_tree(ops_tree).require()
    options = Options(leader_poll=0.1, read_every=0.1)
    async with process(database, catalog, options=options) as running:
        for text in ROWS:
            await running.do(text)
        running.events.clear()
        yield running


async def visit(ops: Process, name: str, kind: str, detail: str) -> None:
    await ops.do(f'insert("v1:ops:visit", id="{name}", payload={{jobId:"j1", kind:"{kind}", detail:{detail}}})')


async def versions(ops: Process, name: str) -> list[dict[str, Any]]:
    return await ops.do(f'history(concept==v1:ops:job;id=="{name}")')


async def test_escalating_raises_what_is_overdue_and_tells(ops: Process) -> None:
    now = datetime(2026, 3, 13, tzinfo=UTC)
    ctx = RequestContext(actor=SYSTEM, now=now, inner=True)
    result = await ops.engine.call("logicEscalate", {}, actor=SYSTEM, context=ctx)
    assert result.decoded_data() == [{"seen": 2, "told": True}]
    assert [row["payload"]["priority"] for row in await versions(ops, "j3")] == [1, 2]
    assert len(await versions(ops, "j1")) == 1
    (told,) = [event for event in ops.events if event.topic == "ops.swept"]
    assert told.payload == {"seen": 2}


async def test_a_poor_inspection_opens_one_follow_up_job(ops: Process) -> None:
    await visit(ops, "w1", "inspection", "{score: 30}")
    await settled(ops, 1)
    (job,) = [row for row in await ops.do("concept==v1:ops:job") if row["payload"]["title"] == "Follow-up j1"]
    assert job["id"].startswith(f"v1:ops:job:{FOLLOW_UP}")
    assert job["createdBy"] == "system:automation:poorInspection"
    provenance = await ops.database.fetch_one("SELECT provenance FROM memory_heads WHERE id = %s", (job["id"],))
    assert provenance == ({"kind": "automation", "name": "poorInspection", "trigger": TOPIC},)


async def test_the_same_event_again_runs_nothing_and_a_run_by_hand_makes_a_version(ops: Process) -> None:
    await visit(ops, "w1", "inspection", "{score: 30}")
    await settled(ops, 1)
    (event,) = [event for event in ops.events if event.topic == TOPIC]
    ops.bus.publish(event)
    await anyio.wait_all_tasks_blocked()
    assert ops.automations.counts.claimed == 1
    told = [one async for one in ops.automations.run("poorInspection", event.payload, actor=SYSTEM)]
    assert len(told) == 3
    (job,) = [row for row in await ops.do("concept==v1:ops:job") if row["payload"]["title"] == "Follow-up j1"]
    assert len(await versions(ops, job["id"].rpartition(":")[2])) == 2


async def test_a_good_inspection_and_a_repair_run_nothing(ops: Process) -> None:
    await visit(ops, "w2", "inspection", "{score: 80}")
    await visit(ops, "w3", "repair", "{minutes: 10}")
    await visit(ops, "w4", "inspection", "{score: 10}")
    await settled(ops, 1)
    assert ops.automations.counts.claimed == 1
    row = await ops.database.fetch_one("SELECT dedup_key FROM automation_execution_claims")
    (last,) = [event for event in ops.events if event.topic == TOPIC and event.payload["id"].endswith("w4")]
    assert row == (last.id,)
