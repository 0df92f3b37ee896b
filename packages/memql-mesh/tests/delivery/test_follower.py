"""The path through the database: what no push brings comes from there, in order and once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import psycopg
import pytest
from mesh_nodes import until

from memql.events import Event
from memql.events.cursors import Cursors
from memql.events.outbox import Outbox
from memql.events.sources import OutboxSource
from memql.graph.database import Database
from memql.mesh.delivery.follower import FROM_LOG, Follower
from memql.mesh.options import Options

pytestmark = pytest.mark.anyio

QUICK = Options(own_grace=0.1, read_every=0.05, cursor_save=0.05, read_batch=7)


@dataclass
class Reader:
    """A follower of the outbox for one node, and what it delivered."""

    database: Database
    node: str = "n1"
    options: Options = QUICK
    got: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        source = OutboxSource(Outbox(self.database, self.node))
        cursors = Cursors(self.database, self.node)
        self.follower = Follower(source, cursors, self.options, self._deliver, self.known.__contains__)

    def _deliver(self, event: Event) -> bool:
        assert event.origin == FROM_LOG
        self.got.append(event.id)
        self.known.add(event.id)
        return True


@asynccontextmanager
async def following(reader: Reader) -> AsyncIterator[Follower]:
    await reader.follower.begin()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.follower.follow)
        yield reader.follower
        tasks.cancel_scope.cancel()


async def write(database: Database, *ids: str) -> None:
    outbox = Outbox(database, "elsewhere")
    for event_id in ids:
        await outbox.append(Event(id=event_id, topic="orders.paid", body={"n": event_id}))


def names(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last)]


async def test_what_was_written_before_the_first_start_is_not_for_this_node(database: Database) -> None:
    await write(database, "before")
    reader = Reader(database)
    async with following(reader):
        await write(database, *names(0, 20))
        await until(lambda: len(reader.got) == 20)
    assert reader.got == names(0, 20)


async def test_what_was_written_while_the_node_was_away_comes_when_it_returns(database: Database) -> None:
    first = Reader(database)
    async with following(first) as follower:
        await write(database, *names(0, 5))
        await until(lambda: len(first.got) == 5)
        await follower.save()
    await write(database, *names(5, 40))
    second = Reader(database)
    async with following(second):
        await until(lambda: len(second.got) == 35)
    assert second.got == names(5, 40)


async def test_a_node_that_was_killed_repeats_only_what_its_cursor_had_not_passed(database: Database) -> None:
    first = Reader(database)
    async with following(first) as follower:
        await write(database, *names(0, 10))
        await until(lambda: len(first.got) == 10)
        await until(lambda: follower._saved == follower.position)
    second = Reader(database)
    async with following(second):
        await write(database, "after")
        await until(lambda: second.got)
    assert second.got == ["after"]


async def test_what_a_push_brought_is_not_published_again(database: Database) -> None:
    reader = Reader(database)
    async with following(reader):
        reader.known.update(names(0, 10))
        await write(database, *names(0, 20))
        await until(lambda: len(reader.got) == 10)
    assert reader.got == names(10, 20)


async def test_a_push_that_comes_just_after_the_row_was_read_wins(database: Database) -> None:
    reader = Reader(database, options=Options(own_grace=0.5, read_every=0.02))
    async with following(reader) as follower:
        await write(database, "slow")
        await until(lambda: follower._held)
        reader.known.add("slow")
        await write(database, "other")
        await until(lambda: reader.got)
    assert reader.got == ["other"]


async def test_a_late_commit_lands_before_the_cursor_and_not_behind_it(database: Database, dsn: str) -> None:
    reader = Reader(database)
    async with following(reader) as follower, await psycopg.AsyncConnection.connect(dsn) as late:
        await late.execute(
            "INSERT INTO event_outbox (event_id, topic, kind, payload, origin_node) "
            "VALUES ('late', 't', 'MESSAGE', '{}', 'x')"
        )
        await write(database, "early")
        await anyio.sleep(0.3)
        assert reader.got == []
        behind = follower.behind()
        assert behind > 0.2
        await late.commit()
        await until(lambda: len(reader.got) == 2)
    assert reader.got == ["late", "early"]


async def test_two_nodes_each_get_everything(database: Database) -> None:
    one, other = Reader(database, "n1"), Reader(database, "n2")
    async with following(one), following(other):
        await write(database, *names(0, 30))
        await until(lambda: len(one.got) == len(other.got) == 30)
    assert one.got == other.got == names(0, 30)


async def test_hurrying_does_not_wait_for_the_next_look(database: Database) -> None:
    reader = Reader(database, options=Options(read_every=60, own_grace=0.01))
    async with following(reader) as follower:
        await anyio.sleep(0.1)
        await write(database, "e0")
        follower.hurry()
        await until(lambda: reader.got, seconds=5)


async def test_the_position_never_passes_an_event_that_is_still_held(database: Database) -> None:
    reader = Reader(database, options=Options(own_grace=60, read_every=0.02, cursor_save=0.01))
    async with following(reader) as follower:
        before = follower.position
        await write(database, *names(0, 5))
        await until(lambda: len(follower._held) == 5)
        await follower.save()
        assert follower.position == before
    reader = Reader(database)
    async with following(reader):
        await until(lambda: len(reader.got) == 5)
