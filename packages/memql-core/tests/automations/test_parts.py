"""The small parts: cron instants, frontier, lanes, batches, guard, stored events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.automations import Claim, Options, Subject
from memql.automations.batches import Batches
from memql.automations.cron import check_schedule, instants, next_instant
from memql.automations.frontier import Frontier
from memql.automations.guard import Guard, Unguarded
from memql.automations.lanes import Lanes
from memql.automations.metrics import Counts
from memql.automations.pace import Pace
from memql.automations.stored_event import decode_event, encode_event
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.events.event import to_micros
from memql.lang.catalog import RateLimit

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 13, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("0 15 6 * * *", datetime(2026, 3, 14, 6, 15, tzinfo=UTC)),
        ("15 6 * * *", datetime(2026, 3, 14, 6, 15, tzinfo=UTC)),
        ("*/20 * * * * *", datetime(2026, 3, 13, 12, 0, 20, tzinfo=UTC)),
        ("0 0 0 1 1 *", datetime(2027, 1, 1, tzinfo=UTC)),
        ("30 0 12 * * 0", datetime(2026, 3, 15, 12, 0, 30, tzinfo=UTC)),
    ],
)
def test_schedules_have_seconds_first_and_are_in_utc(schedule: str, first: datetime) -> None:
    assert next_instant(schedule, NOON) == first


def test_instants_come_in_order_and_begin_after_the_given_one() -> None:
    assert list(islice(instants("*/30 * * * * *", NOON), 3)) == [NOON + timedelta(seconds=30 * n) for n in (1, 2, 3)]


def test_a_day_that_never_comes_has_no_instants() -> None:
    assert next_instant("0 0 0 30 2 *", NOON) is None


@pytest.mark.parametrize("schedule", ["", "* * *", "61 * * * * *", "a b c d e f", "* * * * * * *"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(MemqlError, match="no schedule"):
        check_schedule(schedule)


@given(st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_stepping_through_instants_skips_none(after: datetime) -> None:
    """A leader that stops after any instant and another that goes on from there see one sequence."""
    one = list(islice(instants("*/7 */3 * * * *", after), 6))
    resumed = [*one[:3], *islice(instants("*/7 */3 * * * *", one[2]), 3)]
    assert one == resumed


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=60))
def test_the_frontier_never_passes_an_open_position(steps: list[tuple[bool, int]]) -> None:
    frontier, held = Frontier(0), []
    for opens, number in steps:
        if opens:
            position = frontier.read + number
            held.append((position, frontier.open(position)))
            frontier.advance(position)
        elif held:
            _, decide = held.pop(number % len(held))
            decide()
        expected = min((position for position, _ in held), default=frontier.read + 1) - 1
        assert frontier.decided == expected


class Work:
    """A job that has nothing to admit or settle."""

    def __init__(self, run: Callable[[], Awaitable[None]], *, wanted: bool = True) -> None:
        self._run = run
        self._wanted = wanted
        self.admitted = self.settled = False

    async def admit(self) -> bool:
        self.admitted = True
        return self._wanted

    async def run(self) -> None:
        await self._run()

    async def settle(self) -> None:
        self.settled = True


async def nothing() -> None:
    pass


async def test_lanes_bound_what_goes_at_once_and_keep_order() -> None:
    active, most, order = 0, 0, []
    gate = anyio.Event()

    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=3, limit_each=2, pending_each=100)

        def job(name: str, number: int) -> Work:
            async def run() -> None:
                nonlocal active, most
                active += 1
                most = max(most, active)
                order.append((name, number))
                await gate.wait()
                active -= 1

            return Work(run)

        for number in range(6):
            for name in ("a", "b"):
                await lanes.put(name, job(name, number))
        await anyio.wait_all_tasks_blocked()
        assert active == 3
        assert lanes.free == 0
        gate.set()
        await anyio.wait_all_tasks_blocked()
    assert most == 3
    assert [number for name, number in order if name == "a"] == list(range(6))


async def test_a_full_lane_makes_its_feeder_wait() -> None:
    gate = anyio.Event()
    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=1, limit_each=1, pending_each=1)
        await lanes.put("a", Work(gate.wait))
        await anyio.wait_all_tasks_blocked()
        await lanes.put("a", Work(gate.wait))
        with anyio.move_on_after(0.01) as waited:
            await lanes.put("a", Work(gate.wait))
        assert waited.cancelled_caught
        gate.set()


async def test_a_crashing_job_takes_no_other_with_it() -> None:
    done = anyio.Event()

    async def crash() -> None:
        raise RuntimeError("a bug")

    async def fine() -> None:
        done.set()

    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=1, limit_each=1, pending_each=10)
        await lanes.put("a", Work(crash))
        await lanes.put("a", Work(fine))
        with anyio.fail_after(10):
            await done.wait()


async def test_draining_finishes_what_runs_and_starts_nothing_more() -> None:
    gate, ran = anyio.Event(), []

    async def slow() -> None:
        await gate.wait()
        ran.append("slow")

    async def waiting() -> None:
        ran.append("waiting")

    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=1, limit_each=1, pending_each=10)
        first = Work(slow)
        await lanes.put("a", first)
        await lanes.put("a", Work(waiting))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(lanes.drain)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert ran == ["slow"]
    assert first.settled


async def test_what_is_not_admitted_is_neither_run_nor_settled() -> None:
    ran: list[str] = []

    async def run() -> None:
        ran.append("ran")

    refused, wanted = Work(run, wanted=False), Work(run)
    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=1, limit_each=1, pending_each=10)
        await lanes.put("a", refused)
        await lanes.put("a", wanted)
    assert ran == ["ran"]
    assert (refused.settled, wanted.settled) == (False, True)


async def test_jobs_are_admitted_before_their_turn_only_while_turns_come_soon() -> None:
    """A process that is slow must not keep from others what it cannot start."""
    gate = anyio.Event()
    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=2, limit_each=2, pending_each=1000, ahead=10.0, ahead_most=5)
        for _ in range(40):
            await lanes.put("quick", Work(nothing))
        blocked = [Work(gate.wait) for _ in range(20)]
        for job in blocked:
            await lanes.put("quick", job)
        await anyio.wait_all_tasks_blocked()
        assert sum(job.admitted for job in blocked) == 2 + 5
        fresh = [Work(nothing) for _ in range(3)]
        for job in fresh:
            await lanes.put("other", job)
        await anyio.wait_all_tasks_blocked()
        assert not any(job.admitted for job in fresh), "a new lane admits nothing before its turn"
        gate.set()
    assert all(job.settled for job in (*blocked, *fresh))


async def test_a_lane_whose_runs_take_long_admits_none_ahead() -> None:
    async def slow() -> None:
        await anyio.sleep(0.01)

    gate = anyio.Event()
    async with anyio.create_task_group() as group:
        lanes = Lanes(group.start_soon, limit=2, limit_each=2, pending_each=100, ahead=0.001, ahead_most=50)
        for _ in range(6):
            await lanes.put("a", Work(slow))
        last = [Work(gate.wait) for _ in range(6)]
        for job in last:
            await lanes.put("a", job)
        with anyio.fail_after(10):
            while sum(job.admitted for job in last) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        assert sum(job.admitted for job in last) == 2
        gate.set()


class Ledger:
    """Does batches, and remembers their sizes. ``bad`` items are refused; ``away`` batches cannot be asked for."""

    def __init__(self, *, bad: Collection[int] = ()) -> None:
        self.sizes: list[int] = []
        self.done: list[int] = []
        self.bad = frozenset(bad)
        self.away = False
        self.open = anyio.Event()
        self.open.set()

    async def perform(self, items: Sequence[int]) -> list[int]:
        await self.open.wait()
        self.sizes.append(len(items))
        if self.away:
            raise MemqlError(Code.UNAVAILABLE, "away")
        if not self.bad.isdisjoint(items):
            raise ValueError("a bad member")
        self.done += items
        return [10 * item for item in items]


async def ask_all(batches: Batches[int, int], items: Iterable[int]) -> dict[int, int | Exception]:
    answers: dict[int, int | Exception] = {}

    async def ask(item: int) -> None:
        try:
            answers[item] = await batches.ask(item)
        except Exception as error:
            answers[item] = error

    async with anyio.create_task_group() as group:
        for item in items:
            group.start_soon(ask, item)
    return answers


async def test_a_lone_caller_waits_for_nobody_and_under_load_the_next_batch_has_what_came_meanwhile() -> None:
    ledger = Ledger()
    async with anyio.create_task_group() as group:
        batches = Batches(group.start_soon, ledger.perform, most=30)
        assert await batches.ask(1) == 10
        ledger.open = anyio.Event()
        group.start_soon(batches.ask, 2)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask_all, batches, range(3, 83))
        await anyio.wait_all_tasks_blocked()
        ledger.open.set()
    assert ledger.sizes == [1, 1, 30, 30, 20]
    assert sorted(ledger.done) == list(range(1, 83))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(1, 25))
def test_bad_members_fail_alone(items: int, bad: set[int], most: int) -> None:
    async def run() -> None:
        ledger = Ledger(bad=bad)
        async with anyio.create_task_group() as group:
            answers = await ask_all(Batches(group.start_soon, ledger.perform, most=most), range(items))
        for item in range(items):
            assert isinstance(answers[item], ValueError) if item in bad else answers[item] == 10 * item
        assert sorted(ledger.done) == [item for item in range(items) if item not in bad]

    anyio.run(run)


async def test_a_batch_that_cannot_be_asked_for_fails_for_each_and_is_asked_once() -> None:
    ledger = Ledger()
    ledger.away = True
    async with anyio.create_task_group() as group:
        answers = await ask_all(Batches(group.start_soon, ledger.perform, most=100), range(20))
    assert ledger.sizes == [20]
    assert all(isinstance(answer, MemqlError) and answer.code is Code.UNAVAILABLE for answer in answers.values())


async def test_who_leaves_before_the_batch_is_not_in_it_and_who_leaves_during_it_gives_the_result_back() -> None:
    ledger, returned = Ledger(), []

    async def left(result: int) -> None:
        returned.append(result)

    ledger.open = anyio.Event()
    async with anyio.create_task_group() as group:
        batches = Batches(group.start_soon, ledger.perform, most=10, left=left)

        async def impatient(item: int, scope: anyio.CancelScope) -> None:
            with scope:
                await batches.ask(item)

        during, before = anyio.CancelScope(), anyio.CancelScope()
        group.start_soon(impatient, 1, during)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(impatient, 2, before)
        group.start_soon(batches.ask, 3)
        await anyio.wait_all_tasks_blocked()
        during.cancel()
        before.cancel()
        await anyio.wait_all_tasks_blocked()
        ledger.open.set()
    assert returned == [10]
    assert ledger.done == [1, 3]


class Unreachable:
    """Claims without a database."""

    async def claim(self, subject: Subject) -> Claim | None:
        raise MemqlError(Code.UNAVAILABLE, "the database cannot be reached")


async def test_without_a_database_a_bounded_number_of_runs_goes_ahead() -> None:
    now = 1000.0
    counts = Counts()
    options = Options(unguarded_runs=3, unguarded_window=60)
    guard = Guard(Unreachable(), counts, options, clock=lambda: now)  # type: ignore[arg-type]
    subject = Subject(name="a", key="k", event=b"")
    for _ in range(3):
        assert isinstance(await guard.admit(subject), Unguarded)
    with pytest.raises(MemqlError, match="went ahead without it"):
        await guard.admit(subject)
    now += 61
    assert isinstance(await guard.admit(subject), Unguarded)
    assert (counts.claim_errors, counts.unguarded, counts.claimed) == (5, 4, 0)


json_values = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=8)


@given(st.dictionaries(st.text(), json_values), st.text(), st.integers() | st.none())
def test_an_event_survives_being_stored(payload: dict[str, object], cause: str, log_seq: int | None) -> None:
    event = Event(
        id="g:1:created", topic="a.b", body=payload, micros=to_micros(NOON), actor="me", cause=cause, log_seq=log_seq
    )
    assert decode_event(encode_event(event)) == event


def test_turns_keep_the_rate_whatever_comes_when() -> None:
    now = 0.0
    pace, limit = Pace(clock=lambda: now), RateLimit(requests=2, per=10.0)
    assert [pace.wait("a", f"r{number}", limit) for number in range(5)] == [0, 0, 10, 10, 20]
    assert pace.wait("b", "r0", limit) == 0
    now = 10.0
    assert pace.wait("a", "new", limit) == 10
    assert [pace.wait("a", f"r{number}", limit) for number in (3, 2, 4)] == [0, 0, 10]
    now = 100.0
    assert [pace.wait("a", name, limit) for name in ("x", "y", "z")] == [0, 0, 10]


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60), st.integers(1, 4))
def test_no_window_has_more_beginnings_than_the_rate(steps: list[tuple[float, bool]], requests: int) -> None:
    now, limit = 0.0, RateLimit(requests=requests, per=7.0)
    pace = Pace(clock=lambda: now)
    waiting: dict[str, float] = {}
    begun: list[float] = []

    def come(key: str) -> None:
        wait = pace.wait("a", key, limit)
        if wait > 0:
            waiting[key] = now + wait
        else:
            begun.append(now)

    for number, (passed, due) in enumerate(steps):
        now += passed
        come(f"r{number}")
        if due:
            for key in [key for key, moment in waiting.items() if moment <= now]:
                del waiting[key]
                come(key)
    for first, last in zip(begun, begun[requests:], strict=False):
        assert last - first >= 7.0 - 1e-9
