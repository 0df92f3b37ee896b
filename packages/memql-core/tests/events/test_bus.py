from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.events import Bus, Event

pytestmark = pytest.mark.anyio


def event(topic: str, number: int = 0) -> Event:
    return Event(id=f"{topic}:{number}", topic=topic, body={"n": number})


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"a":"\xff"}', b'{"a":' * 20_000, b'{"a":1e999}'])
def test_what_is_no_json_object_cannot_be_read_and_says_so(body: bytes) -> None:
    with pytest.raises(MemqlError) as refused:
        _ = Event(id="e", topic="t", body=body).payload
    assert refused.value.code is Code.INVALID_ARGUMENT


async def test_events_reach_every_matching_subscription_in_order() -> None:
    bus = Bus()
    async with bus.subscribe("a.#") as wide, bus.subscribe(["a.b", "x"]) as narrow:
        for number in range(5):
            bus.publish(event("a.b", number))
        bus.publish(event("a.c"))
        bus.publish(event("x"))
        assert [one.event.payload["n"] for one in wide.take(5)] == [0, 1, 2, 3, 4]
        assert (await anext(wide)).event.topic == "a.c"
        assert [one.event.topic for one in narrow.take(99)] == ["a.b"] * 5 + ["x"]


async def test_overlapping_patterns_deliver_an_event_once() -> None:
    bus = Bus()
    async with bus.subscribe(["#", "a.*", "a.b", "*.b"]) as all_of_them:
        bus.publish(event("a.b"))
        assert len(all_of_them.take(10)) == 1


async def test_a_full_queue_drops_the_oldest_counts_them_and_tells() -> None:
    bus = Bus()
    async with bus.subscribe("a", capacity=3, name="slow") as slow:
        for number in range(5):
            bus.publish(event("a", number))
        got = slow.take(10)
        assert [(one.seq, one.event.payload["n"], one.gap_before) for one in got] == [
            (3, 2, True),
            (4, 3, False),
            (5, 4, False),
        ]
        bus.publish(event("a", 5))
        assert not (await anext(slow)).gap_before
        assert bus.statistics().dropped == 2
    assert bus.statistics().dropped == 2
    assert bus.statistics().subscriptions == ()


async def test_a_waiting_reader_is_woken() -> None:
    bus = Bus()
    got: list[str] = []

    async def read() -> None:
        got.extend([delivery.event.topic async for delivery in subscription])

    async with anyio.create_task_group() as group:
        subscription = bus.subscribe("a")
        async with subscription:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            bus.publish(event("a"))
            await anyio.wait_all_tasks_blocked()
    assert got == ["a"]


async def test_a_cancelled_reader_loses_nothing() -> None:
    bus = Bus()
    async with bus.subscribe("a") as subscription:
        with anyio.move_on_after(0):
            await anext(subscription)
        bus.publish(event("a", 7))
        assert (await anext(subscription)).event.payload["n"] == 7


async def test_a_subscription_takes_one_reader() -> None:
    bus = Bus()
    async with bus.subscribe("a") as subscription, anyio.create_task_group() as group:
        group.start_soon(subscription.__anext__)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MemqlError, match="already has a reader"):
            await anext(subscription)
        bus.publish(event("a"))


async def test_nothing_arrives_after_the_block_and_patterns_can_come_later() -> None:
    bus = Bus()
    async with bus.subscribe("a") as first:
        bus.publish(event("a"))
    bus.publish(event("a"))
    assert len(first.take(10)) == 1
    async with bus.subscribe("a") as second:
        bus.publish(event("a"))
        assert len(second.take(10)) == 1


async def test_a_closed_bus_ends_every_reader_after_what_is_queued() -> None:
    bus = Bus()
    async with bus.subscribe("#") as subscription:
        bus.publish(event("a"))
        bus.close()
        assert [one.event.topic async for one in subscription] == ["a"]
    with pytest.raises(MemqlError, match="closed"):
        async with bus.subscribe("#"):
            pass


async def test_many_topics_do_not_grow_the_route_cache_without_bound() -> None:
    bus = Bus()
    async with bus.subscribe("t.#", capacity=1) as subscription:
        for number in range(10_000):
            bus.publish(event(f"t.{number}"))
        assert len(bus._by_topic) <= 4096
        assert subscription.statistics().offered == 10_000


@pytest.mark.parametrize(("patterns", "capacity"), [([], 1), ("a", 0)])
async def test_a_subscription_to_nothing_is_refused(patterns: list[str], capacity: int) -> None:
    with pytest.raises(MemqlError):
        Bus().subscribe(patterns, capacity=capacity)


@given(st.lists(st.sampled_from(["publish", "read"]), max_size=60), st.integers(1, 5))
def test_sequence_numbers_and_gaps_account_for_every_event(steps: list[str], capacity: int) -> None:
    async def scenario() -> None:
        bus = Bus()
        sent, seen, last = 0, 0, 0
        async with bus.subscribe("a", capacity=capacity) as subscription:
            for step in [*steps, *["read"] * capacity]:
                if step == "publish":
                    sent += 1
                    bus.publish(event("a", sent))
                    continue
                for delivery in subscription.take(1):
                    assert delivery.event.payload["n"] == delivery.seq
                    assert delivery.gap_before == (delivery.seq != last + 1)
                    seen, last = seen + 1, delivery.seq
            assert seen + subscription.statistics().dropped == sent

    anyio.run(scenario)


async def test_a_tap_sees_every_event_as_it_is_published() -> None:
    bus, seen = Bus(), []
    with bus.tap(lambda event: seen.append(event.id)):
        bus.publish(event("a.b", 1))
        assert seen == ["a.b:1"]
    bus.publish(event("a.b", 2))
    assert seen == ["a.b:1"]


async def test_a_tap_hears_what_it_was_laid_for() -> None:
    bus = Bus()
    everything: list[Event] = []
    local: list[Event] = []
    remote_a: list[Event] = []
    with (
        bus.tap(everything.append),
        bus.tap(local.append, remote=False),
        bus.tap(remote_a.append, local=False, root="a"),
    ):
        bus.publish(event("a.b", 1))
        bus.publish(event("a.b", 2).replace(origin="n2"))
        bus.publish_remote([event("a.b", 3).replace(origin="n2"), event("c.d", 4).replace(origin="n2")])
    assert [one.id for one in everything] == ["a.b:1", "a.b:2", "a.b:3", "c.d:4"]
    assert [one.id for one in local] == ["a.b:1"]
    assert [one.id for one in remote_a] == ["a.b:2", "a.b:3"]
    bus.publish(event("a.b", 5))
    assert len(everything) == 4, "the taps are gone"


@given(st.lists(st.sampled_from(["a.x", "a.y", "b.x"]), max_size=60), st.integers(1, 20), st.integers(1, 7))
async def test_events_in_batches_arrive_as_single_ones_do(topics: list[str], capacity: int, size: int) -> None:
    single, batched = Bus(), Bus()
    events = [event(topic, number) for number, topic in enumerate(topics)]
    async with (
        single.subscribe(["a.#"], capacity=capacity) as expected,
        batched.subscribe(["a.#"], capacity=capacity) as got,
    ):
        for one in events:
            single.publish(one)
        for start in range(0, len(events), size):
            batched.publish_remote(events[start : start + size])
        assert got.take(100) == expected.take(100)
        assert got.statistics() == expected.statistics()


async def test_an_event_brought_here_for_clients_reaches_only_who_takes_such() -> None:
    bus = Bus()
    async with bus.subscribe("a.#") as plain, bus.subscribe("a.#", takes_demanded=True) as client:
        bus.publish(event("a.b", 1).replace(demanded=True))
        bus.publish(event("a.b", 2))
        assert [delivery.event.id for delivery in plain.take(10)] == ["a.b:2"]
        assert [delivery.event.id for delivery in client.take(10)] == ["a.b:1", "a.b:2"]


async def test_an_event_that_came_as_bytes_reads_its_payload_when_asked() -> None:
    came = Event(id="e", topic="a.b", body=b'{"n":1}', micros=1_700_000_000_000_001, origin="n2")
    assert came.json == b'{"n":1}'
    assert came.payload == {"n": 1}
    assert came.json == b'{"n":1}'
    assert came.timestamp.isoformat() == "2023-11-14T22:13:20.000001+00:00"
    assert came == came.replace() != came.replace(origin="")


async def test_the_demand_of_a_bus_is_what_its_clients_ask_for() -> None:
    bus, told = Bus(), []
    bus.on_demand(lambda: told.append(bus.demand))
    async with bus.subscribe("x.#"), bus.subscribe(["a.#", "b"], demands=True):
        async with bus.subscribe("a.#", demands=True):
            assert bus.demand == {"a.#", "b"}
        assert bus.demand == {"a.#", "b"}
    assert bus.demand == frozenset()
    assert told == [{"a.#", "b"}, frozenset()]
