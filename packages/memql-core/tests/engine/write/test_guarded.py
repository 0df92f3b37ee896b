"""``@guarded`` fields: what gives a user power is set by the system and the cluster owner only."""

from __future__ import annotations

from typing import Any

import pytest

from memql.auth import Actor, local_owner, system
from memql.engine.assembly import build_engine
from memql.engine.context import RequestContext
from memql.engine.engine import Engine
from memql.engine.write import BulkWriter, ImportRow
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.lang.loader import load_tree, read_sources

pytestmark = pytest.mark.anyio
USER = "v1:identity:user"
ADMIN = Actor(user_id=f"{USER}:boss", role="admin")


@pytest.fixture
async def engine(database: Database) -> Engine:
    engine = build_engine(database, load_tree(read_sources(())).require(), publish=lambda event: None)
    ctx = RequestContext(actor=system("system:test"))
    await engine.writer.insert(
        USER, {"displayName": "Boss", "primaryEmail": "boss@x.org", "role": "admin"}, ctx, id="boss"
    )
    return engine


async def run(engine: Engine, text: str, actor: Actor = ADMIN) -> Any:
    return await engine.execute(text, actor=actor)


async def refused(engine: Engine, text: str) -> MemqlError:
    with pytest.raises(MemqlError) as error:
        await run(engine, text)
    return error.value


@pytest.mark.parametrize(
    "change",
    [
        'role: "owner"',
        'role: "writer"',
        "active: false",
        "internal: true",
        "revocationEpoch: 1",
        'primaryEmail: "a@x.org"',
    ],
)
async def test_an_administrator_changes_nobodys_power_by_a_raw_write(engine: Engine, change: str) -> None:
    error = await refused(engine, f'update("{USER}", id="boss", payload={{{change}}})')
    assert error.code is Code.FORBIDDEN
    assert error.details["fields"] == [change.partition(":")[0]]


async def test_what_is_not_guarded_can_be_changed(engine: Engine) -> None:
    await run(engine, f'update("{USER}", id="boss", payload={{displayName: "The Boss"}})')


async def test_an_insert_cannot_go_around_it(engine: Engine) -> None:
    person = 'displayName: "Eve", primaryEmail: "eve@x.org"'
    for text in (
        f'insert("{USER}", id="eve", payload={{{person}, role: "owner"}})',
        f'insert("{USER}", id="eve", payload={{{person}}})',
        f'insert("{USER}", id="boss", payload={{displayName: "Boss", primaryEmail: "boss@x.org", role: "owner"}})',
        # Writing over a row must not take away what it has either.
        f'insert("{USER}", id="boss", payload={{displayName: "Boss", primaryEmail: "boss@x.org"}})',
    ):
        assert (await refused(engine, text)).code is Code.FORBIDDEN
    await run(
        engine, f'insert("{USER}", id="boss", payload={{displayName: "B", primaryEmail: "boss@x.org", role: "admin"}})'
    )


async def test_a_deleted_row_is_no_way_in_either(engine: Engine) -> None:
    await run(engine, f'delete("{USER}", id="boss")')
    text = f'insert("{USER}", id="boss", payload={{displayName: "B", primaryEmail: "boss@x.org", role: "owner"}})'
    assert (await refused(engine, text)).code is Code.FORBIDDEN


async def test_the_owner_and_the_system_are_not_bound(engine: Engine) -> None:
    await run(engine, f'update("{USER}", id="boss", payload={{role: "owner"}})', local_owner())
    await run(engine, f'update("{USER}", id="boss", payload={{role: "reader"}})', system("system:test"))


async def test_an_import_is_bound_as_well(engine: Engine, database: Database) -> None:
    writer = BulkWriter(engine.writer, database, USER, RequestContext(actor=ADMIN))
    rows = [
        ImportRow(1, {"displayName": "Eve", "primaryEmail": "eve@x.org", "role": "owner"}, "eve"),
        ImportRow(2, {"displayName": "B", "primaryEmail": "boss@x.org", "role": "admin"}, "boss"),
    ]
    outcome = await writer.write(rows)
    assert [row.line for row in outcome.refused] == [1]
    assert [row.line for row in outcome.stored] == [2]
