"""Several roles over one database: what each has decided, what it still needs, and what if one stays away."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plant import BOOKING, Process, caught_up, place_order, plant, process, settled, until
from structlog.testing import capture_logs

from memql.automations import Claims, Options, Subject
from memql.automations.metrics import Counts
from memql.automations.replay import Replay
from memql.engine.context import RequestContext
from memql.events import Event
from memql.events.cursors import Cursors
from memql.events.outbox import Outbox
from memql.events.sources import OutboxSource
from memql.graph.database import Database
from memql.graph.migrator import packaged

pytestmark = pytest.mark.anyio

DAY = 86_400.0
CATALOG = plant(BOOKING)
AGE_CLAIMS = "UPDATE automation_execution_claims SET completed_at = completed_at - interval '2 hours'"
CURSORS = "SELECT consumer_id, source, position FROM mesh_cursors ORDER BY 1, 2"


def options(role: str, **changed: float) -> Options:
    base = Options(cursor=f"role:{role}", read_every=0.05, take_over_every=0.05, save_every=0.02, cursor_beat=0.05)
    return Options(**{**{name: getattr(base, name) for name in Options.__slots__}, **changed})


@asynccontextmanager
async def node(dsn: str, role: str, **changed: float) -> AsyncIterator[Process]:
    async with (
        Database.open(dsn) as database,
        process(database, CATALOG, node=role, options=options(role, **changed)) as one,
    ):
        yield one


async def said_so(database: Database, role: str) -> None:
    """Wait until a role has told the database that it has caught up with now."""
    row = await database.fetch_one("SELECT clock_timestamp()")
    statement = "SELECT bool_and(caught_up_at > %s) FROM mesh_cursors WHERE consumer_id = %s"
    assert row is not None
    with anyio.fail_after(30):
        while await database.fetch_one(statement, (row[0], f"role:{role}")) != (True,):  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def booked(database: Database) -> int:
    """How many orders have been booked; each once."""
    rows = await database.fetch(
        "SELECT payload ->> 'orderId', count(*) FROM memory_nodes WHERE concept = 'v1:plant:entry' GROUP BY 1"
    )
    assert {entries for _, entries in rows} <= {2}
    return len(rows)


async def test_the_one_cursor_of_before_becomes_that_of_the_bff(database: Database) -> None:
    migration = next(one for one in packaged() if one.version == 5)
    await database.execute("INSERT INTO mesh_cursors VALUES ('automations', 'log', 7), ('automations', 'outbox', 3)")
    for _ in range(2):
        async with await psycopg.AsyncConnection.connect(database._direct_dsn, autocommit=True) as connection:
            await connection.execute(migration.sql.encode())
        assert await database.fetch(CURSORS) == [("role:bff", "log", 7), ("role:bff", "outbox", 3)]


async def test_a_role_that_was_wholly_down_catches_up_when_it_returns(database: Database, dsn: str) -> None:
    async with node(dsn, "planner"):
        pass
    for number in range(5):
        await place_order(database, CATALOG, f"o{number}")
    async with node(dsn, "planner") as planner:
        await settled(planner, 5)
    assert await booked(database) == 5


async def test_a_new_role_begins_now(database: Database, dsn: str) -> None:
    await place_order(database, CATALOG, "before")
    async with node(dsn, "voice") as voice:
        await place_order(database, CATALOG, "after")
        await settled(voice, 1)
        await caught_up(voice)
        assert voice.automations.counts.claimed == 1


async def test_claims_stay_until_every_role_has_passed_their_events(database: Database, dsn: str) -> None:
    async with node(dsn, "planner"):
        pass
    async with node(dsn, "bff") as bff:
        for number in range(5):
            await place_order(database, CATALOG, f"o{number}")
        await settled(bff, 5)
        await database.execute(AGE_CLAIMS)
        await database.execute(
            "UPDATE mesh_cursors SET caught_up_at = caught_up_at - interval '3 h' WHERE consumer_id = 'role:planner'"
        )
        with capture_logs() as logs:
            assert await bff.automations.prune() == 0
        kept = [line for line in logs if line["event"] == "automation_claims_kept"]
        assert {line["role"] for line in kept} == {"role:planner"}
        async with node(dsn, "planner") as planner:
            await said_so(database, "planner")
            counts = planner.automations.counts
            assert (counts.claimed, counts.duplicates_prevented) == (0, 5)
        assert await bff.automations.prune() == 5
    assert await booked(database) == 5


async def test_a_role_that_still_works_on_an_event_holds_its_claim_back(database: Database, dsn: str) -> None:
    """The cursor may not pass an event that is read and undecided, and neither may the pruning."""
    hanging = """
    @enabled @executor("plant.hang") builtin plantHang { step string! }
    @enabled @trigger(event="node.created", concept="v1:plant:order")
    automation hang { step wait { builtin plantHang { step: "x" } } }
    """
    called, go_on = anyio.Event(), anyio.Event()

    async def hang(args: object, ctx: RequestContext) -> str:
        called.set()
        await go_on.wait()
        return "done"

    catalog = plant(hanging)
    tight = options("planner", concurrency=1, drain=0.1)
    async with process(database, catalog, options=tight, executors={"plant.hang": hang}) as one:
        await place_order(database, catalog, "o1")
        await called.wait()
        await place_order(database, catalog, "o2")
        replay = one.automations._replays[0]
        await until(lambda: bool(replay._frontier._open))
        late = await database.fetch_one("SELECT clock_timestamp()")
        assert late is not None
        await anyio.sleep(0.3)
        rows = await database.fetch("SELECT caught_up_at FROM mesh_cursors WHERE source = 'log'")
        assert rows[0][0] < late[0]
        go_on.set()
        await settled(one, 2)
        await said_so(database, "planner")


async def test_a_role_that_stayed_away_too_long_holds_nothing_and_begins_anew(database: Database, dsn: str) -> None:
    async with node(dsn, "planner"):
        pass
    async with node(dsn, "bff") as bff:
        for number in range(3):
            await place_order(database, CATALOG, f"o{number}")
        await settled(bff, 3)
        await database.execute(AGE_CLAIMS)
        away = "updated_at - interval '2 days', caught_up_at = caught_up_at - interval '2 days'"
        await database.execute(f"UPDATE mesh_cursors SET updated_at = {away} WHERE consumer_id = 'role:planner'")
        assert await bff.automations.prune() == 0, "one look is not enough: everybody may have been asleep"
        with capture_logs() as logs:
            assert await bff.automations.prune() == 3
        lapsed = [(line["role"], line["source"]) for line in logs if line["event"] == "automation_cursor_lapsed"]
        assert sorted(lapsed) == [("role:planner", "log"), ("role:planner", "outbox")]
        with capture_logs() as logs:
            async with node(dsn, "planner") as planner:
                await place_order(database, CATALOG, "new")
                await settled(planner, 0)
                await said_so(database, "planner")
                assert planner.automations.counts.cursor_gaps == 2
                assert planner.automations.counts.claimed + planner.automations.counts.duplicates_prevented == 1
        gaps = [line for line in logs if line["event"] == "automation_cursor_gap"]
        assert {line["log_level"] for line in gaps} == {"error"}
        await settled(bff, 3)
    assert await booked(database) == 4


async def test_a_cursor_in_use_does_not_lapse_though_it_does_not_move(database: Database, dsn: str) -> None:
    async with node(dsn, "planner"), node(dsn, "bff", outbox_retention=1.0) as bff:
        for _ in range(3):
            await bff.automations.prune()
            await anyio.sleep(0.7)
        await bff.automations.prune()
        assert await database.fetch("SELECT FROM mesh_cursors WHERE lapsed_at IS NOT NULL") == []


async def test_a_process_that_slept_while_its_cursor_lapsed_begins_anew(database: Database, dsn: str) -> None:
    async with node(dsn, "planner") as planner:
        await said_so(database, "planner")
        await database.execute("UPDATE mesh_cursors SET lapsed_at = clock_timestamp()")
        await until(lambda: planner.automations.counts.cursor_gaps == 2)
        await place_order(database, CATALOG, "o1")
        await settled(planner, 1)
    assert await booked(database) == 1


async def test_what_waited_in_a_lane_until_its_claim_was_forgotten_does_not_run_again(
    database: Database, dsn: str
) -> None:
    hanging = """
    @enabled @executor("plant.hang") builtin plantHang { step string! }
    @enabled @trigger(event="node.created", concept="v1:plant:order")
    automation hang { step wait { builtin plantHang { step: "x" } } step t { mutation tick { at: "ran" } } }
    """
    called, go_on = anyio.Event(), anyio.Event()

    async def hang(args: object, ctx: RequestContext) -> str:
        called.set()
        await go_on.wait()
        return "done"

    async def pass_by(args: object, ctx: RequestContext) -> str:
        return "done"

    catalog = plant(hanging)
    short = options("bff", concurrency=1, retention=0.2, drain=5)
    async with (
        Database.open(dsn) as other,
        process(database, catalog, node="a", options=short, executors={"plant.hang": hang}) as slow,
    ):
        await place_order(database, catalog, "o1")
        await called.wait()
        await place_order(database, catalog, "o2")
        replay = slow.automations._replays[0]
        await until(lambda: bool(replay._frontier._open))
        async with process(other, catalog, node="b", options=short, executors={"plant.hang": pass_by}) as quick:
            await settled_of(quick, 1)
            await said_so(database, "bff")
            with anyio.fail_after(30):
                while await quick.automations.prune() == 0:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
        go_on.set()
        await until(lambda: not replay._frontier._open)
        await settled(slow, 1)
        assert slow.automations.counts.claimed == 1
        assert await slow.count("tick") == 2


async def settled_of(one: Process, runs: int) -> None:
    await until(lambda: one.automations.counts.runs_completed >= runs)


# --- random interleavings ---------------------------------------------------------------------------------------

ROLES = ("bff", "planner")
STEPS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1000)), min_size=20, max_size=60)


class Reader:
    """A process of a role without its lanes: the test says when it reads, decides, saves and dies."""

    def __init__(self, database: Database, role: str, number: int, effects: Counter[str]) -> None:
        self.role = role
        self._database = database
        self._claims = Claims(database, owner=f"{role}/{number}", lease=600)
        self._cursors = Cursors(database, f"role:{role}")
        self._effects = effects
        self._undecided: list[tuple[Event, object]] = []
        self.replay = Replay(
            OutboxSource(Outbox(database, role)),
            self._cursors,
            self,  # type: ignore[arg-type]
            Counts(),
            Options(cursor=f"role:{role}", read_batch=3),
        )

    async def dispatch(self, event: Event, hold: object = None) -> None:
        self._undecided.append((event, None if hold is None else hold()))  # type: ignore[operator]

    async def read(self) -> None:
        await self.replay._read()

    async def decide(self, number: int) -> None:
        """Decide about one event, in any order, as a run in a lane does that has waited for ever."""
        if not self._undecided:
            return
        event, decided = self._undecided.pop(number % len(self._undecided))
        if not await self._cursors.passed(event):
            claim = await self._claims.claim(Subject(name="a", key=event.id, event=b"{}"))
            if claim is not None:
                self._effects[event.id] += 1
                await self._claims.complete(claim, "completed")
        if decided is not None:
            decided()  # type: ignore[operator]

    async def finish(self) -> None:
        """Read, decide and save until there is nothing more to read now."""
        more = True
        while more:
            more = await self.replay._read()
            while self._undecided:
                await self.decide(0)
            await self.replay.save()


class World:
    """Roles, each with up to two processes, and writers of which one commits late."""

    def __init__(self, database: Database, dsn: str) -> None:
        self.database = database
        self.dsn = dsn
        self.effects: Counter[str] = Counter()
        self.written: list[Event] = []
        self.readers: list[Reader] = []
        self._started = 0
        self._late: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._late_event: Event | None = None

    async def start(self, role: str) -> None:
        self._started += 1
        reader = Reader(self.database, role, self._started, self.effects)
        await reader.replay.begin()
        self.readers.append(reader)

    async def step(self, kind: int, number: int) -> None:
        reader = self.readers[number % len(self.readers)]
        actions = (
            self.write,
            self.write,
            partial(self.write_late, number),
            reader.read,
            partial(reader.decide, number // 7),
            reader.replay.save,
            reader.finish,
            partial(self.replace, reader),
            partial(self.hear, reader, number // 7),
            self.prune,
            self.prune,
            partial(self.join, reader.role),
        )
        await actions[kind]()

    def _event(self) -> Event:
        return Event(id=f"e{self._started}-{len(self.written)}-{random.random()}", topic="plant.go", body={})

    async def write(self) -> None:
        event = self._event()
        await Outbox(self.database, "w").append(event)
        self.written.append(event)

    async def write_late(self, number: int) -> None:
        """Draw a number now and commit it later."""
        if self._late is None:
            self._late = await psycopg.AsyncConnection.connect(self.dsn)
            self._late_event = self._event()
            await Outbox(self.database, "w").append(self._late_event, self._late)
        elif number % 2:
            await self.commit_late()

    async def commit_late(self) -> None:
        if self._late is not None and self._late_event is not None:
            await self._late.commit()
            await self._late.close()
            self.written.append(self._late_event)
            self._late = None

    async def replace(self, reader: Reader) -> None:
        """A process dies, with what it had not decided, and another one starts."""
        self.readers.remove(reader)
        await self.start(reader.role)

    async def join(self, role: str) -> None:
        if sum(reader.role == role for reader in self.readers) < 2:
            await self.start(role)

    async def hear(self, reader: Reader, number: int) -> None:
        """An event arrives over the bus, perhaps again."""
        if self.written:
            await reader.dispatch(self.written[number % len(self.written)])

    async def prune(self) -> None:
        """Without a retention: only the cursors keep claims."""
        await Claims(self.database, owner="m", lease=600).prune(0.0)

    async def lapse(self, role: str) -> None:
        statement = "UPDATE mesh_cursors SET lapsed_at = clock_timestamp() WHERE consumer_id = %s"
        await self.database.execute(statement, (f"role:{role}",))

    async def live(self, steps: list[tuple[int, int]], *, lapsing: bool) -> None:
        """Start every role, take the steps, and let everybody catch up."""
        for role in ROLES:
            await self.start(role)
        for kind, number in steps:
            if lapsing and kind == 2 and number % 3:
                await self.lapse(ROLES[number % len(ROLES)])
            else:
                await self.step(kind, number)
        await self.commit_late()
        with anyio.fail_after(20):
            while set(self.effects) < {event.id for event in self.written} and not lapsing:
                for reader in self.readers:
                    await reader.finish()
        for reader in self.readers:
            await reader.finish()


@pytest.mark.parametrize("lapsing", [False, True])
async def test_however_roles_lag_prune_and_restart_each_event_takes_effect_once(
    database: Database, dsn: str, lapsing: bool
) -> None:
    async def check(steps: list[tuple[int, int]]) -> None:
        await database.execute("TRUNCATE mesh_cursors, event_outbox, automation_execution_claims")
        world = World(database, dsn)
        try:
            await world.live(steps, lapsing=lapsing)
        finally:
            await world.commit_late()
        assert set(world.effects.values()) <= {1}
        assert lapsing or set(world.effects) == {event.id for event in world.written}

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def examples(steps: list[tuple[int, int]]) -> None:
        anyio.from_thread.run(check, steps)

    await anyio.to_thread.run_sync(examples)
