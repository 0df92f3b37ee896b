"""Positions in the log: whatever the order of commits and of deliveries, each place is dealt with once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import MemqlError
from memql.events import Event
from memql.events.event import to_micros
from memql.server.subscriptions.position import MAX_AHEAD, Position, first_place, last_place, place, version_of

places = st.integers(min_value=0, max_value=10**12)


@given(st.integers(0, 500), st.sets(st.integers(0, 700), max_size=MAX_AHEAD))
def test_a_cursor_read_back_is_the_same_position(settled: int, dealt: set[int]) -> None:
    position = Position(settled, dealt)
    again = Position.parse(position.cursor())
    assert [again.admit(at) for at in range(800)] == [position.admit(at) for at in range(800)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=80))
def test_a_place_is_admitted_once_however_admitting_and_settling_interleave(steps: list[tuple[bool, int]]) -> None:
    position, admitted, settled = Position(0), set(), 0
    for settles, at in steps:
        if settles:
            position.settle(at)
            settled = max(settled, at)
        else:
            assert position.admit(at) == (at > settled and at not in admitted)
            position.finish(at)
            admitted.add(at)


def test_a_cursor_covers_a_place_only_when_it_is_finished() -> None:
    position = Position(10)
    assert position.admit(20)
    assert not position.admit(20)
    assert Position.parse(position.cursor()).admit(20)
    position.finish(20)
    assert not Position.parse(position.cursor()).admit(20)


def test_too_much_ahead_has_no_cursor_until_it_settles() -> None:
    position = Position(10, range(12, 12 + 2 * MAX_AHEAD + 2, 2))
    assert position.cursor() == ""
    position.settle(100)
    assert Position.parse(position.cursor()).settled == 100


@given(st.integers(1, 10**9))
def test_both_places_of_a_version_lie_between_its_neighbours(number: int) -> None:
    assert last_place(number - 1) < first_place(number) < last_place(number) < first_place(number + 1)
    assert version_of(last_place(number)) == number
    assert version_of(first_place(number)) == number - 1


def test_an_update_is_two_events_with_a_place_each() -> None:
    now = datetime.now(UTC)
    created = Event(id="g:7:created", topic="t", body={}, kind="NODE_CREATED", micros=to_micros(now), log_seq=7)
    updated = Event(id="g:7:updated", topic="t", body={}, kind="NODE_UPDATED", micros=to_micros(now), log_seq=7)
    assert (place(created), place(updated)) == (first_place(7), last_place(7))


@pytest.mark.parametrize("text", ["x", "-1", "1:", "1:2-", "5:9-3", "1:1-999999999", "1" * 4000, "1:2,,3"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(MemqlError, match="resumeAfter"):
        Position.parse(text)
