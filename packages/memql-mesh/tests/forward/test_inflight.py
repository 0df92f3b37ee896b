"""Requests in flight: one entry each, one cancellation at most, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from memql.errors import Code, MemqlError
from memql.mesh.forward.inflight import InFlight
from memql.mesh.options import Options
from memql.mesh.wire.messages import SiForwardCancel

pytestmark = pytest.mark.anyio
OPTIONS = replace(Options(), forward_queue=2, forward_idle=0.2)


class Line:
    """A stream that writes down what it is given."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.peer = type("Peer", (), {"id": "b"})()

    def post(self, message: Any) -> None:
        self.posted.append(message)


def cancel(request_id: str) -> SiForwardCancel:
    return SiForwardCancel(request_id=request_id)


def opened(table: InFlight, line: Line, request_id: str = "a:1") -> Any:
    return table.opened(request_id, line, cancel)  # type: ignore[arg-type]


async def brought(table: InFlight, request_id: str, message: Any, *, last: bool) -> None:
    """Have an answer come."""
    pending = table.answer(request_id, message, last=last)
    if pending is not None:
        await pending


async def test_ids_are_those_of_the_node_and_never_repeat() -> None:
    table = InFlight("node-" + "x" * 300, OPTIONS)
    ids = [table.new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert max(map(len, ids)) <= 128


async def test_an_answer_in_parts_is_read_in_order_and_ends() -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with opened(table, line) as entry:
        await brought(table, "a:1", 1, last=False)
        await brought(table, "a:1", 2, last=True)
        assert [await entry.next(), await entry.next()] == [1, 2]
        with pytest.raises(anyio.EndOfStream):
            await entry.next()
    assert not line.posted
    assert len(table) == 0


async def test_whoever_leaves_early_has_the_other_side_told_once() -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with pytest.raises(RuntimeError), opened(table, line):
        raise RuntimeError
    assert [message.request_id for message in line.posted] == ["a:1"]
    await brought(table, "a:1", "late", last=True)
    assert len(line.posted) == 1


async def test_a_request_that_is_done_or_lost_is_not_cancelled() -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with opened(table, line, "done"):
        await brought(table, "done", 1, last=True)
    with pytest.raises(MemqlError) as lost, opened(table, line, "lost") as entry:
        table.lost(line)  # type: ignore[arg-type]
        await entry.next()
    assert (lost.value.code, lost.value.retryable) == (Code.UNAVAILABLE, True)
    assert not line.posted


async def test_what_came_before_a_loss_is_still_read() -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with opened(table, line) as entry:
        await brought(table, "a:1", 1, last=False)
        table.lost(line)  # type: ignore[arg-type]
        assert await entry.next() == 1
        with pytest.raises(MemqlError):
            await entry.next()


@pytest.mark.parametrize(("request_id", "code"), [("", Code.INVALID_ARGUMENT), ("a:1", Code.ALREADY_EXISTS)])
async def test_ids_that_are_empty_or_taken_are_refused(request_id: str, code: Code) -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with opened(table, line), pytest.raises(MemqlError) as refused, opened(table, line, request_id):
        pass
    assert refused.value.code is code


async def test_answers_come_at_the_pace_of_their_reader() -> None:
    table, line = InFlight("a", replace(OPTIONS, forward_idle=30)), Line()
    with opened(table, line) as entry:
        read: list[int] = []
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                for number in range(10):
                    await brought(table, "a:1", number, last=number == 9)

            tasks.start_soon(answer)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.EndOfStream):
                while True:
                    read.append(await entry.next())
        assert read == list(range(10))


async def test_a_reader_that_does_not_read_loses_its_request_and_holds_nobody_up() -> None:
    table, line = InFlight("a", OPTIONS), Line()
    with opened(table, line) as entry:
        with anyio.fail_after(5):
            for number in range(4):
                await brought(table, "a:1", number, last=False)
        assert [await entry.next(), await entry.next()] == [0, 1]
        with pytest.raises(MemqlError) as slow:
            await entry.next()
        assert slow.value.code is Code.RESOURCE_EXHAUSTED
    # The other side may still be at it.
    assert [type(message) for message in line.posted] == [SiForwardCancel]
