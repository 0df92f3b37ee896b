"""Subscriptions against a real log: order, gaps, cursors, rows of other processes, who may read what."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest
from server_system import Node, Serve, Wire

from memql.auth import Actor
from memql.events import Event
from memql.events.graph_events import graph_events
from memql.events.log import EventLog
from memql.graph.database import Connection, Database
from memql.graph.log import NewVersion, Written, append
from memql.server.limits import Limits
from memql.server.ports import Services
from memql.server.subscriptions.tail import LogTail
from memql.wire.messages import EventNotification, GraphNodeAction, SubscribeMsg, SubscriptionKind, UnsubscribeMsg
from memql.wire.structs import from_struct, to_struct

pytestmark = pytest.mark.anyio

GRAPH = SubscriptionKind.GRAPH_EVENTS


class Store:
    """Writes versions and publishes them as a writer does, or as another process would: not at all."""

    def __init__(self, database: Database, services: Services) -> None:
        self.database = database
        self.bus = services.bus
        self.log = EventLog(database)

    async def write(self, short: str, *, concept: str = "v1:ops:job", publish: bool = True, **members: Any) -> Written:
        version = self.version(short, concept, **members)
        written = await append(self.database, version)
        if publish:
            self.publish(version, written)
        return written

    async def settled(self) -> None:
        """Wait until the log is settled as far as it goes now."""
        ((last,),) = await self.database.fetch("SELECT max(seq) FROM memory_nodes")
        with anyio.fail_after(30):
            while await self.log.settled() < last:  # noqa: ASYNC110
                await anyio.sleep(0.01)

    def version(self, short: str, concept: str = "v1:ops:job", **members: Any) -> NewVersion:
        given: dict[str, Any] = {
            "id": f"{concept}:{short}",
            "concept": concept,
            "created_by": "system:test",
            "schema": {},
            "payload": {"title": short},
            "provenance": {"kind": "direct"},
        }
        return NewVersion(**(given | members))

    def publish(self, version: NewVersion, written: Written) -> None:
        assert isinstance(version.payload, Mapping)
        for event in graph_events(
            seq=written.seq,
            id=version.id,
            concept=version.concept,
            node_type=version.type,
            actor=version.created_by,
            created_at=written.created_at.isoformat(),
            timestamp=written.created_at,
            payload=version.payload,
            deleted=version.deleted,
            updated=version.updated,
        ):
            self.bus.publish(event)


@pytest.fixture
async def store(database: Database, services: Services) -> AsyncIterator[Store]:
    kept = Store(database, services)
    services.tail = LogTail(kept.log, services.bus, poll_seconds=0.1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(services.tail.run)
        yield kept
        tasks.cancel_scope.cancel()


async def subscribe(wire: Wire, subscription_id: str = "s", **members: Any) -> dict[str, Any]:
    config = members.pop("config", None)
    message = SubscribeMsg(
        subscription_id=subscription_id,
        kind=members.pop("kind", GRAPH),
        config=None if config is None else to_struct(config),
        **members,
    )
    sent = await wire.send(message)
    frame = await wire.receive("event")
    assert frame.correlate_to == sent
    answer = frame.message()
    assert isinstance(answer, EventNotification)
    return from_struct(answer.payload)


async def event(wire: Wire) -> EventNotification:
    message = await wire.message("event")
    assert isinstance(message, EventNotification)
    return message


def title(message: EventNotification) -> Any:
    return from_struct(message.payload)["title"]


async def test_a_subscription_is_acknowledged_with_its_patterns(wire: Wire, store: Store) -> None:
    assert await subscribe(wire, filter="node.created.v1:ops:job") == {
        "eventType": "subscription-created",
        "status": "subscribed",
        "subscriptionId": "s",
        "subscriptionKind": "SUBSCRIPTION_KIND_GRAPH_EVENTS",
        "patterns": ["graph.node.created.v1:ops:job"],
    }


async def test_events_carry_the_row_topic_kind_and_a_count_from_one(wire: Wire, store: Store) -> None:
    await subscribe(wire, concept="v1:ops:job", actions=[GraphNodeAction.CREATED])
    await store.write("a")
    await store.write("x", concept="v1:ops:visit")
    await store.write("b")
    first, second = await event(wire), await event(wire)
    payload = from_struct(first.payload)
    assert payload["nodeId"] == "v1:ops:job:a"
    assert (payload["topic"], payload["eventKind"]) == ("graph.node.created.v1:ops:job", "node_created")
    assert (first.seq, second.seq) == (1, 2)
    assert title(second) == "b"
    assert not first.gap_before
    assert first.cursor


async def test_one_subscription_gets_an_event_once_however_its_patterns_overlap(wire: Wire, store: Store) -> None:
    await subscribe(
        wire, concept="v1:ops:job", actions=[GraphNodeAction.CREATED, GraphNodeAction.UPDATED, GraphNodeAction.CREATED]
    )
    await store.write("a")
    await store.write("a", updated=True)
    kinds = [(await event(wire)).kind.name for _ in range(3)]
    assert kinds == ["NODE_CREATED", "NODE_CREATED", "NODE_UPDATED"]


async def test_rows_the_subscriber_may_not_read_are_not_delivered(wire: Wire, node: Node, store: Store) -> None:
    await subscribe(wire)
    node.engine.unreadable.add("g:1:created")
    await store.write("secret")
    await store.write("open")
    assert title(await event(wire)) == "open"


async def test_other_events_that_the_subscriber_may_not_see_are_not_delivered(wire: Wire, node: Node) -> None:
    await subscribe(wire, kind=SubscriptionKind.AI_STREAM)
    node.engine.unreadable.add("e1")
    for number in (1, 2):
        payload = {"number": number}
        node.services.bus.publish(Event(id=f"e{number}", topic="si.completion.finished", body=payload))
    assert from_struct((await event(wire)).payload)["number"] == 2


async def test_an_event_that_cannot_be_read_is_left_out_and_the_next_one_tells(wire: Wire, node: Node) -> None:
    await subscribe(wire, kind=SubscriptionKind.AI_STREAM)
    for number, body in enumerate((b"\xff{", b"[1]", b'{"number": 2}')):
        came = Event(id=f"e{number}", topic="si.completion.finished", body=body, origin="another node")
        node.services.bus.publish(came)
    told = await event(wire)
    assert (from_struct(told.payload)["number"], told.gap_before) == (2, True)


async def test_unsubscribing_ends_delivery_and_is_answered(wire: Wire, store: Store) -> None:
    await subscribe(wire)
    await wire.send(UnsubscribeMsg(subscription_id="s"))
    assert from_struct((await event(wire)).payload)["status"] == "unsubscribed"
    await store.write("a")
    await subscribe(wire, "t")
    await store.write("b")
    assert (await event(wire)).subscription_id == "t"


async def test_a_live_id_is_replaced(wire: Wire, store: Store) -> None:
    await subscribe(wire, concept="v1:ops:visit")
    await subscribe(wire, concept="v1:ops:job")
    await store.write("x", concept="v1:ops:visit")
    await store.write("a")
    assert title(await event(wire)) == "a"


@pytest.mark.parametrize(
    "members",
    [
        {"kind": SubscriptionKind.UNSPECIFIED},
        {"concept": "not a concept"},
        {"concept": "v1:ops:job", "filter": "node.#"},
        {"kind": SubscriptionKind.DOMAIN_EVENTS, "filter": "session.opened"},
        {"kind": SubscriptionKind.MESSAGE, "concept": "v1:ops:job"},
        {"config": {"resumeAfter": "nonsense"}},
    ],
)
async def test_a_subscription_that_makes_no_sense_is_refused(wire: Wire, store: Store, members: dict[str, Any]) -> None:
    answer = await subscribe(wire, **members)
    assert (answer["eventType"], answer["error"]) == ("subscription-error", "INVALID_ARGUMENT")


async def test_domain_subscriptions_never_see_the_systems_own_topics(wire: Wire, node: Node, store: Store) -> None:
    await subscribe(wire, kind=SubscriptionKind.DOMAIN_EVENTS, filter="#")
    node.bus.publish(Event(id="1", topic="session.opened", body={"email": "a@b"}))
    await store.write("a")
    node.bus.publish(Event(id="2", topic="orders.paid", body={"title": "paid"}))
    assert title(await event(wire)) == "paid"


async def test_more_subscriptions_than_allowed_are_refused(serve: Serve, store: Store) -> None:
    async with serve(Limits(subscriptions=2)) as node, node.connect() as wire:
        await subscribe(wire, "a")
        await subscribe(wire, "b")
        assert (await subscribe(wire, "c"))["error"] == "RESOURCE_EXHAUSTED"
        await subscribe(wire, "b")


async def test_a_queue_that_overflows_loses_the_oldest_and_tells(serve: Serve, store: Store) -> None:
    async with serve(Limits(event_queue=4)) as node, node.connect() as wire:
        await subscribe(wire, kind=SubscriptionKind.MESSAGE)
        for n in range(20):
            node.bus.publish(Event(id=str(n), topic="message.x", body={"title": n}))
        received = [await event(wire) for _ in range(4)]
        assert [title(message) for message in received] == [16, 17, 18, 19]
        assert [message.gap_before for message in received] == [True, False, False, False]
        assert [message.seq for message in received] == [1, 2, 3, 4]


async def test_rows_that_another_process_wrote_are_delivered(wire: Wire, store: Store) -> None:
    await subscribe(wire)
    await store.write("mine")
    await store.write("theirs", publish=False)
    await store.write("mine too")
    assert {title(await event(wire)) for _ in range(3)} == {"mine", "theirs", "mine too"}


async def test_a_bulk_of_rows_from_another_process_is_read_at_the_clients_pace(wire: Wire, store: Store) -> None:
    await subscribe(wire)
    for n in range(600):
        await store.write(f"n{n}", publish=False)
    received = [await event(wire) for _ in range(600)]
    assert {title(message) for message in received} == {f"n{n}" for n in range(600)}
    assert not any(message.gap_before for message in received)


async def test_resuming_replays_what_was_missed_and_goes_live(node: Node, store: Store) -> None:
    async with node.connect() as wire:
        await subscribe(wire)
        await store.write("seen")
        cursor = (await event(wire)).cursor
    await store.write("missed")
    await store.write("missed", updated=True)
    async with node.connect() as wire:
        await subscribe(wire, config={"resumeAfter": cursor})
        await store.write("live")
        received = [await event(wire) for _ in range(4)]
    assert [title(message) for message in received] == ["missed", "missed", "missed", "live"]
    assert [message.seq for message in received] == [1, 2, 3, 4]


async def test_a_subscription_can_be_resumed_before_its_first_event(node: Node, store: Store) -> None:
    await store.write("before")
    await store.settled()
    async with node.connect() as wire:
        await wire.send(SubscribeMsg(subscription_id="s", kind=GRAPH))
        begins = (await event(wire)).cursor
    assert begins
    await store.write("missed")
    async with node.connect() as wire:
        await subscribe(wire, config={"resumeAfter": begins})
        assert title(await event(wire)) == "missed"


async def test_an_update_is_not_halved_by_a_cursor_between_its_two_events(node: Node, store: Store) -> None:
    async with node.connect() as wire:
        await subscribe(wire)
        await store.write("a", updated=True)
        created = await event(wire)
    async with node.connect() as wire:
        await subscribe(wire, config={"resumeAfter": created.cursor})
        assert (await event(wire)).kind.name == "NODE_UPDATED"


async def test_a_commit_that_comes_late_is_neither_lost_nor_repeated(node: Node, store: Store) -> None:
    begun, finish = anyio.Event(), anyio.Event()

    async def slow(connection: Connection) -> Written:
        written = await append(connection, store.version("late"))
        begun.set()
        await finish.wait()
        return written

    async with anyio.create_task_group() as tasks, node.connect() as wire:
        await subscribe(wire)
        tasks.start_soon(store.database.transaction, slow)
        await begun.wait()
        await store.write("early")
        first = await event(wire)
        finish.set()
        assert title(first) == "early"
        assert title(await event(wire)) == "late"
    async with node.connect() as wire:
        await subscribe(wire, config={"resumeAfter": first.cursor})
        await store.write("end")
        assert [title(await event(wire)) for _ in range(2)] == ["late", "end"]


@pytest.mark.parametrize("seed", range(4))
async def test_however_often_it_reconnects_a_client_gets_every_event_once(node: Node, store: Store, seed: int) -> None:
    dice = random.Random(seed)
    total, written, received, cursor = 120, 0, [], ""
    done = anyio.Event()

    async def write_all() -> None:
        nonlocal written
        async with anyio.create_task_group() as writers:
            for n in range(total):
                writers.start_soon(write_one, n)
                if dice.random() < 0.3:
                    await anyio.sleep(dice.random() * 0.01)
        done.set()

    async def write_one(n: int) -> None:
        async def work(connection: Connection) -> tuple[NewVersion, Written]:
            version = store.version(f"n{n}")
            out = await append(connection, version)
            await anyio.sleep(dice.random() * 0.02)
            return version, out

        version, out = await store.database.transaction(work)
        if dice.random() < 0.7:
            store.publish(version, out)

    async with node.connect() as wire:
        await subscribe(wire)
        await store.write("first")
        message = await event(wire)
        received.append(title(message))
        cursor = message.cursor
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_all)
        while len(received) < total + 1:
            async with node.connect() as wire:
                await subscribe(wire, config={"resumeAfter": cursor})
                for _ in range(min(dice.randint(1, 40), total + 1 - len(received))):
                    message = await event(wire)
                    assert message.cursor
                    assert not message.gap_before
                    received.append(title(message))
                    cursor = message.cursor
    assert sorted(received) == sorted(["first", *(f"n{n}" for n in range(total))])


async def test_subscribing_to_everything_needs_an_administrator() -> None:
    from memql.errors import MemqlError
    from memql.server.subscriptions.patterns import patterns_of

    reader = Actor(role="reader", user_id="v1:identity:user:r")
    with pytest.raises(MemqlError, match="needs role admin"):
        patterns_of(SubscribeMsg(kind=SubscriptionKind.ALL), reader)
    with pytest.raises(MemqlError, match="guests"):
        patterns_of(SubscribeMsg(kind=SubscriptionKind.MESSAGE), Actor())


@pytest.mark.parametrize(
    ("kind", "text", "patterns"),
    [
        (SubscriptionKind.TELEMETRY, "", ("telemetry.#",)),
        (SubscriptionKind.GRAPH_EVENTS, "", ("graph.#",)),
        (SubscriptionKind.GRAPH_EVENTS, " .node..created.* ", ("graph.node.created.*",)),
        (SubscriptionKind.GRAPH_EVENTS, "node.created.default.v1:ops:job", ("graph.node.created.v1:ops:job",)),
        (SubscriptionKind.AI_STREAM, "completion.*", ("si.completion.*", "ai.completion.*")),
        (SubscriptionKind.AUTOMATION_EVENTS, "step.#", ("automation.step.#",)),
        (SubscriptionKind.DOMAIN_EVENTS, "orders.*", ("orders.*",)),
        (SubscriptionKind.ALL, "", ("#",)),
    ],
)
def test_kind_and_filter_make_the_patterns(kind: SubscriptionKind, text: str, patterns: tuple[str, ...]) -> None:
    from memql.auth import local_owner
    from memql.server.subscriptions.patterns import patterns_of

    assert patterns_of(SubscribeMsg(kind=kind, filter=text), local_owner()) == patterns
