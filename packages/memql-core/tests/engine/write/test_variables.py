"""Secrets and variables."""

from __future__ import annotations

import pytest

from memql.engine.write import ValueStore, load_tables
from memql.errors import Code, MemqlError
from memql.secrets.keys import MasterKey

from .conftest import BOSS, SYSTEM, U1, World

pytestmark = pytest.mark.anyio

KEY = MasterKey(bytes(range(32)))


@pytest.fixture
def values(world: World) -> ValueStore:
    return ValueStore(world.writer, world.database, KEY)


async def test_a_variable_of_the_partition_hides_the_global_one(world: World, values: ValueStore) -> None:
    await values.set_variable("GRACE", "2", world.context(BOSS))
    await values.set_variable("GRACE", "5", world.context(BOSS), partition=True, description="days")
    tables = await load_tables(world.database)
    assert tables.variable("GRACE", system_only=False) == "5"
    assert tables.variable("GRACE", system_only=True) == "2"
    assert tables.variable("OTHER", system_only=False) is None
    listed = await values.variables(world.context(BOSS))
    assert [(entry.value, entry.partition, entry.description) for entry in listed] == [
        ("2", False, ""),
        ("5", True, "days"),
    ]


async def test_setting_a_variable_again_is_a_version_of_the_same_row(world: World, values: ValueStore) -> None:
    first = await values.set_variable("_X", "1", world.context(BOSS))
    second = await values.set_variable("_X", "2", world.context(BOSS))
    assert first.meta.server_id == second.meta.server_id
    assert (await load_tables(world.database)).variable("_X", system_only=False) == "2"


async def test_inactive_rows_do_not_count(world: World, values: ValueStore) -> None:
    result = await values.set_variable("GRACE", "2", world.context(BOSS))
    await world.raw(f'update("v1:platform:globalVariable", id="{result.meta.server_id}", payload={{active:false}})')
    assert (await load_tables(world.database)).variable("GRACE", system_only=False) is None
    await values.set_variable("GRACE", "3", world.context(BOSS))
    assert (await load_tables(world.database)).variable("GRACE", system_only=False) == "3"


async def test_a_secret_is_sealed_at_rest_and_opened_only_with_the_key(world: World, values: ValueStore) -> None:
    await values.set_secret("API_KEY", "sk-very-secret-1234", world.context(SYSTEM), kind="token")
    rows = await world.database.fetch("SELECT payload::text FROM secret_memory_nodes")
    assert "very-secret" not in rows[0][0]
    assert all("very-secret" not in str(event) for event in world.events)
    tables = await load_tables(world.database, KEY)
    assert tables.secret("API_KEY", system_only=False) == "sk-very-secret-1234"
    assert tables.secret("NONE", system_only=False) is None
    for key in (None, MasterKey(bytes(32))):
        with pytest.raises(MemqlError) as caught:
            (await load_tables(world.database, key)).secret("API_KEY", system_only=False)
        assert caught.value.code is Code.FAILED_PRECONDITION


async def test_listing_secrets_shows_fingerprints_and_rotation(world: World, values: ValueStore) -> None:
    await values.set_secret("API_KEY", "sk-very-secret-1234", world.context(SYSTEM))
    await values.set_secret("API_KEY", "sk-very-secret-5678", world.context(SYSTEM))
    (entry,) = await values.secrets(world.context(SYSTEM))
    assert (entry.name, entry.fingerprint, entry.added_by) == ("API_KEY", "...5678", "system:test")
    assert entry.rotated_at


async def test_only_administrators_set_variables_and_only_the_cluster_owner_secrets(
    world: World, values: ValueStore
) -> None:
    for call in (
        values.set_variable("A", "1", world.context(U1)),
        values.variables(world.context(U1)),
        values.set_secret("A", "longenough", world.context(BOSS)),
        values.secrets(world.context(BOSS)),
    ):
        with pytest.raises(MemqlError) as caught:
            await call
        assert caught.value.code is Code.FORBIDDEN


async def test_a_secret_cannot_be_sealed_without_a_key(world: World) -> None:
    with pytest.raises(MemqlError, match="MEMQL_MASTER_KEY"):
        await ValueStore(world.writer, world.database, None).set_secret("A", "x", world.context(SYSTEM))


async def test_a_malformed_name_is_refused(world: World, values: ValueStore) -> None:
    with pytest.raises(MemqlError) as caught:
        await values.set_variable("has space", "1", world.context(BOSS))
    assert caught.value.code is Code.VALIDATION_FAILED
