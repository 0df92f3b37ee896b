from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memql.mesh.dedup import MAX_SIZE, Dedup


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_event_is_new_once() -> None:
    dedup = Dedup()
    assert dedup.first("a")
    assert not dedup.first("a")
    assert "a" in dedup


def test_a_copy_that_came_a_shorter_way_is_told_apart() -> None:
    dedup = Dedup()
    dedup.first("a", 3)
    assert not dedup.shorter("a", 3)
    assert dedup.shorter("a", 2)
    assert not dedup.shorter("a", 2)


def test_ids_beyond_the_size_leave_once_they_are_old_enough() -> None:
    clock = Clock()
    dedup = Dedup(2, floor=10, clock=clock)
    for name in "abc":
        dedup.first(name)
    assert len(dedup) == 3
    clock.now += 10
    for number in range(600):
        dedup.first(str(number))
    assert "a" in dedup
    clock.now += 10
    for number in range(600, 1200):
        dedup.first(str(number))
    assert "a" not in dedup
    assert "599" in dedup
    assert dedup.evicted_early == 0


def test_a_hundred_thousand_events_within_the_floor_keep_memory_bounded() -> None:
    dedup = Dedup(8192, clock=Clock())
    for number in range(100_000):
        dedup.first(str(number))
        assert len(dedup) <= MAX_SIZE
    assert all(str(number) in dedup for number in range(100_000 - MAX_SIZE // 2, 100_000))
    assert dedup.evicted_early > 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=200), st.integers(1, 20))
def test_nothing_within_size_and_floor_is_ever_new_twice(steps: list[tuple[int, int]], size: int) -> None:
    clock = Clock()
    dedup = Dedup(size, floor=20, clock=clock)
    came: dict[int, float] = {}
    for number, wait in steps:
        clock.now += wait
        new = dedup.first(str(number))
        if number in came and clock.now - came[number] < 20:
            assert not new
        if new:
            came[number] = clock.now
