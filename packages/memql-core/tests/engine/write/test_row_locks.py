"""Turns for contended rows."""

from __future__ import annotations

import anyio
import pytest

from memql.engine.write.row_locks import RowLocks

pytestmark = pytest.mark.anyio


async def test_holders_of_one_row_take_turns_and_nothing_is_kept() -> None:
    locks, inside, order = RowLocks(), 0, list[int]()

    async def hold(number: int) -> None:
        nonlocal inside
        async with locks.hold("a"):
            inside += 1
            assert inside == 1
            order.append(number)
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(hold, number)
    assert order == list(range(20))
    assert len(locks) == 0


async def test_rows_do_not_wait_for_each_other_and_a_cancelled_waiter_leaves() -> None:
    locks = RowLocks()

    async def wait_in_vain() -> None:
        with anyio.move_on_after(0.01) as scope:
            async with locks.hold("a"):
                raise AssertionError
        assert scope.cancelled_caught

    async with locks.hold("a"), locks.hold("b"), anyio.create_task_group() as group:
        group.start_soon(wait_in_vain)
    assert len(locks) == 0
