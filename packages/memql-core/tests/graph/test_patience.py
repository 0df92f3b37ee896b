"""Steps of a start, and loops, while the database is away."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from memql.errors import Code, MemqlError
from memql.graph.patience import keep_running, ride_out

pytestmark = pytest.mark.anyio

AWAY = MemqlError(Code.UNAVAILABLE, "away")
SLOW = MemqlError(Code.TIMEOUT, "slow")
WRONG = MemqlError(Code.CONFIG_INVALID, "wrong")


class Step:
    """Fails with one error after the other, then succeeds."""

    def __init__(self, *errors: MemqlError) -> None:
        self.tries = 0
        self._errors: Iterator[MemqlError] = iter(errors)

    async def __call__(self) -> int:
        self.tries += 1
        for error in self._errors:
            raise error
        return self.tries


async def test_a_step_is_tried_until_the_database_has_answered() -> None:
    assert await ride_out("a step", Step(AWAY, SLOW, AWAY), patience=10) == 4


async def test_a_step_is_given_up_when_the_database_stays_away() -> None:
    step = Step(*[AWAY] * 100)
    began = anyio.current_time()
    with pytest.raises(MemqlError, match="away"):
        await ride_out("a step", step, patience=0.5)
    assert 0.5 <= anyio.current_time() - began < 5
    assert step.tries > 2


async def test_without_patience_there_is_one_try() -> None:
    step = Step(AWAY)
    with pytest.raises(MemqlError, match="away"):
        await ride_out("a step", step, patience=0)
    assert step.tries == 1


async def test_what_waiting_does_not_cure_is_raised_at_once() -> None:
    step = Step(AWAY, WRONG)
    with pytest.raises(MemqlError, match="wrong"):
        await ride_out("a step", step, patience=10)
    assert step.tries == 2


async def test_a_loop_begins_again_while_the_database_is_away_and_ends_with_any_other_failure() -> None:
    step = Step(AWAY, WRONG)

    async def loop() -> None:
        await step()

    with pytest.raises(MemqlError, match="wrong"):
        await keep_running("a loop", loop)
    assert step.tries == 2
