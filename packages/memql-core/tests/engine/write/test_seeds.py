"""Seeds are created once."""

from __future__ import annotations

import pytest

from memql.engine.write import Seeder
from memql.errors import MemqlError
from memql.lang.catalog import Catalog

from .conftest import SYSTEM, World

pytestmark = pytest.mark.anyio

HOUSE = "v1:ops:customer:house"
STARTER = "v1:ops:customer:starter-{}"


async def add_user(world: World, name: str) -> str:
    text = f'insert("v1:identity:user", id="{name}", payload={{displayName:"{name}", primaryEmail:"{name}@x.org"}})'
    return (await world.raw(text)).meta.server_id


def seeder(world: World, catalog: Catalog | None = None) -> Seeder:
    return Seeder(world.writer, world.database, catalog or world.catalog)


async def test_startup_writes_global_seeds_and_one_row_per_user(world: World) -> None:
    users = [await add_user(world, name) for name in ("u1", "u2")]
    assert await seeder(world).apply() == [HOUSE, STARTER.format("u1"), STARTER.format("u2")]
    rows = await world.database.fetch(
        "SELECT payload, created_by, provenance FROM memory_heads WHERE concept = 'v1:ops:customer' ORDER BY id"
    )
    house, first, second = rows
    assert house[0]["prefs"] == {"sms": False}
    assert house[1:] == ("system:seed", {"kind": "seed", "name": "houseAccount"})
    assert [first[0]["ownerUserId"], second[0]["ownerUserId"]] == users
    assert first[0]["tier"] == "basic"


async def test_what_exists_or_was_deleted_is_left_alone(world: World) -> None:
    await add_user(world, "u1")
    await seeder(world).apply()
    await world.raw(f'delete("v1:ops:customer", id="{STARTER.format("u1")}")')
    await world.raw('update("v1:ops:customer", id="house", payload={name:"Changed"})')
    world.events.clear()
    assert await seeder(world).apply() == []
    assert not world.events


async def test_a_new_user_gets_the_seeds_per_user_only(world: World) -> None:
    user = await add_user(world, "u7")
    assert await seeder(world).apply_to_user(user) == [STARTER.format("u7")]
    assert await seeder(world).apply_to_user(user) == []


async def test_a_seed_that_cannot_be_written_is_named(world: World) -> None:
    from dataclasses import replace

    broken = replace(world.catalog.seeds["houseAccount"], payload={"name": "x"})
    catalog = replace(world.catalog, seeds={"houseAccount": broken})
    with pytest.raises(MemqlError, match="houseAccount"):
        await seeder(world, catalog).apply()


async def test_system_actors_see_seeds_like_any_row(world: World) -> None:
    await seeder(world).apply()
    await world.raw('update("v1:ops:customer", id="house", payload={tier:"gold"})', SYSTEM)
