# ruff: noqa: E501 - a table reads best with one case on a line
from __future__ import annotations

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from memql.lang.checker.cron import normalise_schedule, schedule_problem

numbers = st.one_of(st.just("*"), st.integers(0, 70).map(str), st.sampled_from(["mon", "jan", "sun"]))
parts = st.one_of(
    numbers,
    st.tuples(numbers, numbers).map("-".join),
    st.tuples(numbers, st.integers(0, 70).map(str)).map("/".join),
)
fields = st.lists(parts, min_size=1, max_size=2).map(",".join)


@pytest.mark.parametrize(
    "schedule",
    [
        "0 15 6 * * *",
        "15 6 * * *",
        "*/5 * * * * *",
        "0 0 0 1,15 * *",
        "0 30 8-18/2 * jan-mar mon-fri",
        "0 0 0 29 2 *",
        "0 0 0 * * 7",
    ],
)
def test_schedules_that_can_fire_are_accepted(schedule: str) -> None:
    assert schedule_problem(schedule) == ""


@pytest.mark.parametrize(
    "schedule",
    ["", "hourly", "* * * *", "0 60 * * * *", "0 0 24 * * *", "0 0 0 0 * *", "0 0 0 * 13 *", "*/0 * * * * *", "0 0 18-8 * * *",
     "0 0 0 30 2 *", "0 0 0 31 4,6 *", "0 0 0 * * 8", "a * * * * *", "* * * * * * *"],
)  # fmt: skip
def test_schedules_that_cannot_are_refused(schedule: str) -> None:
    assert schedule_problem(schedule) != ""


def test_five_fields_get_second_zero() -> None:
    assert normalise_schedule(" 15  6 * * * ") == "0 15 6 * * *"


@given(st.lists(fields, min_size=6, max_size=6).map(" ".join))
def test_what_is_accepted_is_what_the_scheduler_understands(schedule: str) -> None:
    if not schedule_problem(schedule):
        assert croniter.is_valid(schedule, second_at_beginning=True)
