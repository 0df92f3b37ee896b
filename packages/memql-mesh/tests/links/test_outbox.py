"""The two lanes to a peer."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.mesh.links.outbox import Batch, Outbox
from memql.mesh.wire.records import Record

pytestmark = pytest.mark.anyio


def record(number: int, size: int = 2) -> Record:
    return Record(str(number), "t", 200, 0, "n", 3, 1, None, b"x" * size)


def drain(outbox: Outbox, events: int = 256, size: int = 1 << 20) -> list[Batch]:
    batches = []
    while batch := outbox.next_batch(events, size):
        batches.append(batch)
    return batches


async def test_a_full_control_lane_refuses_the_newest() -> None:
    outbox = Outbox("p", 2)
    outbox.post(b"1")
    outbox.post(b"2")
    with pytest.raises(MemqlError) as refused:
        outbox.post(b"3")
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert [outbox.next_control(), outbox.next_control(), outbox.next_control()] == [b"1", b"2", None]


async def test_an_answer_waits_for_room() -> None:
    outbox = Outbox("p", 1)
    outbox.post(b"1")
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.put, b"2")
        await anyio.lowlevel.checkpoint()
        assert outbox.waiting == 1
        assert outbox.next_control() == b"1"
        with anyio.fail_after(5):
            await outbox.wait()
            while outbox.waiting == 0:
                await anyio.lowlevel.checkpoint()
    assert outbox.next_control() == b"2"


async def test_answers_for_an_outbox_that_closes_are_dropped_and_nobody_waits_on() -> None:
    outbox = Outbox("p", 1)
    outbox.post(b"1")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.put, b"2")
            await anyio.lowlevel.checkpoint()
            outbox.close()
        await outbox.put(b"3")
    assert outbox.waiting == 1


async def test_a_full_event_lane_drops_the_oldest_and_the_next_batch_says_so() -> None:
    outbox = Outbox("p", 3)
    for number in range(5):
        outbox.offer(record(number))
    (batch,) = drain(outbox)
    assert ([r.id for r in batch.records], batch.gap, outbox.dropped) == (["2", "3", "4"], True, 2)
    outbox.offer(record(5))
    assert drain(outbox) == [Batch([record(5)], False)]


async def test_a_gap_is_told_even_when_no_event_waits() -> None:
    outbox = Outbox("p", 3)
    outbox.mark_gap()
    with anyio.fail_after(1):
        await outbox.wait()
    assert drain(outbox) == [Batch([], True)]


async def test_a_batch_is_bounded_in_events_and_bytes_but_takes_one_event_of_any_size() -> None:
    outbox = Outbox("p", 100)
    for size in (10, 10, 10, 5000, 10):
        outbox.offer(record(size, size))
    assert [len(batch.records) for batch in drain(outbox, events=2, size=1000)] == [2, 1, 1, 1]


async def test_one_waits_until_something_is_there() -> None:
    outbox = Outbox("p")
    outbox.offer(record(1))
    drain(outbox)
    with anyio.move_on_after(0.01) as scope:
        await outbox.wait()
    assert scope.cancelled_caught
    outbox.post(b"1")
    with anyio.fail_after(1):
        await outbox.wait()


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 10), st.integers(1, 2000))
def test_batches_keep_order_and_lose_nothing_that_fits(sizes: list[int], events: int, most: int) -> None:
    outbox = Outbox("p", 100)
    for number, size in enumerate(sizes):
        outbox.offer(record(number, size))
    batches = drain(outbox, events, most)
    assert [r.id for batch in batches for r in batch.records] == [str(n) for n in range(len(sizes))]
    assert all(len(batch.records) <= events for batch in batches)
