"""Runs that are interrupted, given back, or cannot be claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plant import open_transaction, place_order, plant, process, settled, until

from memql.auth import system
from memql.automations import Claim, Claims, Options, Subject
from memql.automations.claims import Entry
from memql.automations.journal import RunJournal
from memql.engine.context import IdSequence, RequestContext
from memql.engine.journal import Nature
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.events.event import to_micros
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

HANGING = """
@enabled @executor("plant.hang") builtin plantHang { step string! }
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation hang {
  step before { mutation tick { at: "before" } }
  step wait { builtin plantHang { step: "wait" } }
  step after { mutation tick { at: "after" } }
}
"""


GIVING_UP = Options(lease=600, drain=0.1, read_every=0.05, take_over_every=0.05, take_overs=3)


class Hang:
    """A builtin that hangs until it is told to go on, and remembers the keys it was called with."""

    def __init__(self) -> None:
        self.called = anyio.Event()
        self.go_on = anyio.Event()
        self.keys: list[str] = []

    async def __call__(self, args: Mapping[str, Any], ctx: RequestContext) -> str:
        self.keys.append(ctx.idempotency_key)
        self.called.set()
        await self.go_on.wait()
        return "done"


async def ticks(database: Database) -> list[str]:
    rows = await database.fetch(
        "SELECT payload ->> 'at' FROM memory_nodes WHERE concept = 'v1:plant:tick' ORDER BY seq"
    )
    return [at for (at,) in rows]


async def test_a_stopping_process_gives_its_runs_back_and_another_goes_on_at_once(database: Database) -> None:
    catalog, hang = plant(HANGING), Hang()
    options = Options(lease=600, drain=0.1, read_every=0.05, take_over_every=0.05)
    async with process(database, catalog, options=options, executors={"plant.hang": hang}) as one:
        await one.order("o1")
        await hang.called.wait()
    hang.go_on.set()
    async with process(database, catalog, options=options, executors={"plant.hang": hang}) as two:
        await settled(two, 1)
        assert two.automations.counts.take_overs == 1
    assert await ticks(database) == ["before", "after"]
    assert hang.keys[0] == hang.keys[1] != ""


async def test_a_run_whose_claim_was_taken_is_stopped(database: Database) -> None:
    catalog, hang = plant(HANGING), Hang()
    options = Options(lease=0.3, read_every=0.05, take_over_every=3600)
    async with process(database, catalog, options=options, executors={"plant.hang": hang}) as one:
        await one.order("o1")
        await hang.called.wait()
        await database.execute("UPDATE automation_execution_claims SET epoch = epoch + 1, claimed_by = 'other'")
        await until(lambda: one.automations.counts.claims_lost == 1)
        hang.go_on.set()
        await anyio.wait_all_tasks_blocked()
    assert await ticks(database) == ["before"]
    assert await database.fetch_one("SELECT completed_at FROM automation_execution_claims") == (None,)


async def test_a_changed_automation_does_not_carry_on_a_run_it_does_not_fit(database: Database) -> None:
    hang = Hang()
    options = Options(lease=600, drain=0.1, read_every=0.05, take_over_every=0.05)
    async with process(database, plant(HANGING), options=options, executors={"plant.hang": hang}) as one:
        await one.order("o1")
        await hang.called.wait()
    changed = HANGING.replace('mutation tick { at: "before" }', 'publishEvent { topic: "plant.before" }')
    async with process(database, plant(changed), options=options, executors={"plant.hang": hang}) as two:
        await settled(two, 1)
        assert two.automations.counts.runs_failed == 1
    row = await database.fetch_one("SELECT outcome, error FROM automation_execution_claims")
    assert row is not None
    assert "changed while a run of it was interrupted" in row[1]


async def test_the_cursor_stays_below_an_event_that_nobody_has_decided_about(database: Database) -> None:
    catalog, hang = plant(HANGING), Hang()
    options = Options(read_every=0.02, concurrency=1, drain=0.1)
    async with process(database, catalog, options=options, executors={"plant.hang": hang}) as one:
        await one.order("o1")
        await hang.called.wait()
        await place_order(database, catalog, "o2")
        first = await database.fetch_one("SELECT seq FROM memory_nodes WHERE id = 'v1:plant:order:o2'")
        assert first is not None
        replay = one.automations._replays[0]
        await until(lambda: replay._frontier.read >= first[0])
        assert replay._frontier.decided == first[0] - 1
        hang.go_on.set()
        await settled(one, 2)
        await until(lambda: replay._frontier.decided >= first[0])


async def interrupted_three_times(database: Database, hang: Hang) -> None:
    """Leave a run of a first process that three processes did not survive."""
    async with process(database, plant(HANGING), options=GIVING_UP, executors={"plant.hang": hang}) as one:
        await one.order("o1")
        await hang.called.wait()
    await database.execute("UPDATE automation_execution_claims SET epoch = 3")


async def check_it_is_given_up(database: Database, options: Options, hang: Hang) -> None:
    async with process(database, plant(HANGING), options=options, executors={"plant.hang": hang}) as two:
        await settled(two, 1)
        assert two.automations.counts.runs_failed == 1
    row = await database.fetch_one("SELECT outcome, error FROM automation_execution_claims")
    assert row == ("failed", "given up: 3 processes died while they ran it")
    assert len(hang.keys) == 1


async def test_a_run_that_kills_every_process_is_given_up(database: Database) -> None:
    hang = Hang()
    await interrupted_three_times(database, hang)
    await check_it_is_given_up(database, replace(GIVING_UP, read_every=3600), hang)


async def test_a_run_that_kills_every_process_is_given_up_when_its_event_is_read_again(
    database: Database, dsn: str
) -> None:
    hang = Hang()
    async with open_transaction(dsn):
        await interrupted_three_times(database, hang)
    await check_it_is_given_up(database, replace(GIVING_UP, take_over_every=3600), hang)


class AwayClaims(Claims):
    """Claims of a database that cannot be reached, until it is back."""

    away = True

    async def claim(self, subject: Subject) -> Claim | None:
        if self.away:
            raise MemqlError(Code.UNAVAILABLE, "the database cannot be reached")
        return await super().claim(subject)


CALLING = """
@enabled @internal @executor("plant.call") builtin plantCall { step string! }
@enabled @trigger(event="plant.go") automation call { step c { builtin plantCall { step: "c" } } }
@enabled @trigger(event="plant.book") automation callAndBook {
  step c { builtin plantCall { step: "c" } }
  step b { mutation addEntry { orderId: steps.c.result, amount: 1, note: "booked" } }
  step d { builtin plantCall { step: "d" } }
}
"""


class Called:
    """Host code that remembers its calls."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def __call__(self, args: Any, ctx: RequestContext) -> str:
        self.steps.append(args["step"])
        return f"{args['step']}{len(self.steps)}"


async def test_without_claims_runs_go_ahead_and_are_counted(database: Database) -> None:
    called = Called()
    async with process(database, plant(CALLING), executors={"plant.call": called}) as one:
        one.automations._dispatcher._guard._claims = AwayClaims(database, owner="x", lease=1)
        one.bus.publish(Event(id="x", topic="plant.go", body={}))
        await settled(one, 1)
        counts = one.automations.counts
        assert (counts.unguarded, counts.claim_errors, counts.claimed) == (1, 1, 0)
        assert called.steps == ["c"]


async def test_a_run_without_a_claim_waits_for_one_where_it_writes_and_does_nothing_twice(database: Database) -> None:
    called = Called()
    async with process(database, plant(CALLING), executors={"plant.call": called}) as one:
        claims = one.automations._dispatcher._guard._claims = AwayClaims(database, owner="x", lease=30)
        one.bus.publish(Event(id="x", topic="plant.book", body={}))
        await until(lambda: one.automations.counts.claim_errors >= 1 and called.steps == ["c"])
        assert await one.count("entry") == 0
        claims.away = False
        await settled(one, 1)
        assert called.steps == ["c", "d"]
        rows = await database.fetch("SELECT payload ->> 'orderId' FROM memory_nodes WHERE concept = 'v1:plant:entry'")
        assert rows == [("c1",)]
        assert (one.automations.counts.unguarded, one.automations.counts.claimed) == (1, 1)


async def test_a_run_without_a_claim_leaves_its_writes_to_the_process_that_has_it(database: Database) -> None:
    ours, theirs = Called(), Called()
    catalog = plant(CALLING)
    event = Event(id="x", topic="plant.book", body={})
    async with process(database, catalog, executors={"plant.call": ours}) as one:
        claims = one.automations._dispatcher._guard._claims = AwayClaims(database, owner="x", lease=30)
        one.bus.publish(event)
        await until(lambda: ours.steps == ["c"])
        async with process(database, catalog, node="other", executors={"plant.call": theirs}) as two:
            two.bus.publish(event)
            await settled(two, 1)
        claims.away = False
        await until(lambda: one.automations.counts.duplicates_prevented == 1)
        assert await one.count("entry") == 1
        assert (ours.steps, theirs.steps) == (["c"], ["c", "d"])


async def test_old_events_in_a_queue_are_left_to_the_log(database: Database) -> None:
    """A process that slept for hours wakes up with events whose claims are forgotten."""
    telling = '@enabled @trigger(event="plant.go") automation tell { step t { mutation tick { at: "x" } } }'
    async with process(database, plant(telling)) as one:
        old = Event(id="x", topic="plant.go", body={})
        stale = Event(id="y", topic="plant.go", body={}, micros=to_micros(old.timestamp.replace(year=2020)))
        one.bus.publish(stale)
        one.bus.publish(old)
        await settled(one, 1)
        assert one.automations.counts.claimed == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    natures=st.lists(st.sampled_from(Nature), min_size=1, max_size=8),
    deaths=st.lists(st.integers(0, 20), max_size=4),
)
def test_a_run_that_dies_anywhere_repeats_no_write_and_gives_the_same(natures: list[Nature], deaths: list[int]) -> None:
    """Against a database in memory: every transaction commits or does not, and death may come before any call or
    between an effect and its record."""
    anyio.run(_dying_runs, natures, deaths)


class _Dead(Exception):  # noqa: N818
    pass


async def _dying_runs(natures: list[Nature], deaths: list[int]) -> None:
    world = _World()
    results: list[Any] = []
    for death in [*deaths, None]:
        world.lives = death
        journal = RunJournal(world, world, CLAIM, lambda event: None)  # type: ignore[arg-type]
        await journal.load()
        try:
            results.append([await world.do(journal, number, nature) for number, nature in enumerate(natures)])
        except _Dead:
            continue
        break
    writes = [place for place in world.effects if natures[int(place)] is Nature.WRITE]
    assert sorted(set(writes)) == sorted(writes)
    assert len(writes) == sum(nature is Nature.WRITE for nature in natures)
    (values,) = results
    for number, nature in enumerate(natures):
        if nature is Nature.WRITE:
            assert values[number] == world.given[str(number)][-1]


CLAIM = Claim(name="a", key="k", owner="o", epoch=1, started_at=Event(id="", topic="", body={}).timestamp, event=b"")
CTX = RequestContext(actor=system("system:test"), ids=IdSequence(("run",)))


class _World:
    """A database and claims in memory, whose process dies after a number of things done."""

    def __init__(self) -> None:
        self.lives: int | None = None
        self.effects: list[str] = []
        self.given: dict[str, list[Any]] = {}
        self._journal: list[Any] = []
        self._pending: list[str] = []

    def _live(self) -> None:
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                raise _Dead

    async def do(self, journal: RunJournal, number: int, nature: Nature) -> Any:
        self._live()

        async def perform(ctx: RequestContext) -> Any:
            value = len(self.effects) + len(self._pending)
            self.given.setdefault(str(number), []).append(value)
            if ctx.connection is None:
                self.effects.append(str(number))
            else:
                self._pending.append(str(number))
            self._live()
            return value

        return await journal.call(str(number), "t", nature, perform, CTX)

    async def journal(self, claim: Claim) -> list[Any]:
        return list(self._journal)

    async def run(self, work: Any, *, timeout: float | None = None) -> Any:
        return await self.transaction(work)

    async def transaction(self, work: Any, *, timeout: float | None = None) -> Any:
        self._pending = []
        connection = _Connection()
        try:
            value = await work(connection)
            self._live()
        except _Dead:
            self._pending = []
            raise
        self.effects += self._pending
        self._pending = []
        self._journal += connection.entries
        return value


class _Connection:
    """Takes what the journal records."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    async def execute(self, statement: str, params: Any) -> Any:
        *_, places, targets, results = params
        self.entries = [Entry(*entry) for entry in zip(places, targets, results, strict=True)]
        self.rowcount = len(self.entries)
        return self
