from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from plant import Process, plant, process

from memql.auth import Actor
from memql.automations import Options, RunAccepted, RunComplete, RunEvent, RunStep
from memql.engine.context import RequestContext
from memql.errors import Code, MemqlError
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

BOSS = Actor(user_id="v1:identity:user:boss", role="admin")

TREE = """
@enabled @executor("plant.hang") builtin plantHang { step string }
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation greet {
  step one { mutation tick { at: event.topic, by: event.actor } }
  step two { if event.payload.amount == 99 { publishEvent { topic: "plant.loud" } } }
  step three { logic say { event: event } }
}
logic logicSay { args { event object } body { return { said: args.event.payload.word } } }
@enabled @trigger(schedule="0 0 0 1 1 *")
automation yearly { args { word string! } step s { mutation tick { at: args.word } } }
@enabled @internal @trigger(event="plant.never") automation hidden { step s { mutation tick { at: "x" } } }
@enabled @role("owner") @trigger(event="plant.never") automation owned { step s { mutation tick { at: "x" } } }
@enabled @rateLimit(requests=1, per="1m") @trigger(event="plant.never")
automation rare { step s { mutation tick { at: "x" } } }
@enabled @trigger(event="plant.never") automation hang { step s { builtin plantHang { step: "s" } } }
@enabled @trigger(event="plant.never") automation bad { step s { logic bad { event: event } } }
logic logicBad { args { event object } body { return error("no luck") } }
"""


async def hang(args: Any, ctx: RequestContext) -> Any:
    await anyio.sleep_forever()


@pytest.fixture
async def one(database: Database) -> AsyncIterator[Process]:
    options = Options(leader_poll=0.1)
    async with process(database, plant(TREE), options=options, executors={"plant.hang": hang}) as running:
        yield running


async def run(one: Process, name: str, payload: dict[str, Any] | None = None, **how: Any) -> list[RunEvent]:
    return [told async for told in one.automations.run(name, payload or {}, actor=BOSS, **how)]


async def test_a_run_by_hand_tells_each_step_between_accepted_and_complete(one: Process) -> None:
    accepted, first, second, third, complete = await run(one, "greet", {"word": "hello"})
    assert isinstance(accepted, RunAccepted)
    assert (accepted.automation, accepted.trigger_kind) == ("greet", "event")
    assert accepted.trigger_topic == "graph.node.created.v1:plant:order"
    assert [
        (step.sequence, step.step_id, step.status) for step in (first, second, third) if isinstance(step, RunStep)
    ] == [
        (1, "one", "completed"),
        (2, "two", "skipped"),
        (3, "three", "completed"),
    ]
    assert isinstance(third, RunStep)
    assert third.output == {"said": "hello"}
    assert isinstance(complete, RunComplete)
    assert (complete.status, complete.step_count, complete.error_code) == ("completed", 3, 0)
    (tick,) = await one.do("concept==v1:plant:tick")
    assert tick["payload"] == {"at": "graph.node.created.v1:plant:order", "by": "v1:identity:user:boss"}
    assert tick["createdBy"] == "system:automation:greet"


async def test_each_run_by_hand_is_a_run_of_its_own(one: Process) -> None:
    await run(one, "yearly", {"word": "a"})
    await run(one, "yearly", {"word": "a"})
    assert await one.count("tick") == 2


async def test_topic_and_concept_can_be_given(one: Process) -> None:
    (accepted, *_) = await run(one, "greet", topic="plant.other")
    assert isinstance(accepted, RunAccepted)
    assert accepted.trigger_topic == "plant.other"
    (accepted, *_) = await run(one, "greet", concept="v1:plant:total")
    assert isinstance(accepted, RunAccepted)
    assert accepted.trigger_topic == "graph.node.created.v1:plant:total"
    (accepted, *_) = await run(one, "yearly", {"word": "x"})
    assert isinstance(accepted, RunAccepted)
    assert (accepted.trigger_kind, accepted.trigger_topic) == ("schedule", "manual.yearly")


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("nobody", {}, Code.UNKNOWN_FUNCTION),
        ("hidden", {}, Code.FORBIDDEN),
        ("owned", {}, Code.FORBIDDEN),
        ("yearly", {}, Code.INVALID_ARGUMENT),
        ("yearly", {"word": 5}, Code.INVALID_ARGUMENT),
    ],
)
async def test_a_run_that_cannot_begin_raises(one: Process, name: str, payload: dict[str, Any], code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        await run(one, name, payload)
    assert caught.value.code is code


async def test_a_rate_limit_holds_per_caller(one: Process) -> None:
    await run(one, "rare")
    with pytest.raises(MemqlError, match="1 calls per 60 s"):
        await run(one, "rare")


async def test_a_failed_run_ends_with_its_error(one: Process) -> None:
    _, step, complete = await run(one, "bad")
    assert isinstance(step, RunStep)
    assert step.status == "failed"
    assert isinstance(complete, RunComplete)
    assert (complete.status, complete.error, complete.error_message) == ("failed", "INVALID_ARGUMENT", "no luck")
    assert complete.error_code == 3


async def test_a_run_by_hand_ends_at_its_time_limit(one: Process) -> None:
    *_, complete = await run(one, "hang", timeout=0.05)
    assert isinstance(complete, RunComplete)
    assert complete.error == "TIMEOUT"


async def test_leaving_the_iteration_stops_the_run(one: Process) -> None:
    running = one.automations.run("hang", {}, actor=BOSS)
    assert isinstance(running, AsyncGenerator)
    async with aclosing(running) as told:
        assert isinstance(await anext(told), RunAccepted)
    await anyio.wait_all_tasks_blocked()
    assert not [event for event in one.events if event.topic == "automation.completed"]
