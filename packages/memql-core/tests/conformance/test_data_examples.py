"""Worked examples of the language: concepts and validation, ids and versions."""

from __future__ import annotations

import pytest
from ops_system import SYSTEM, Ops

from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio
ROUTE = "a97929e6da8a186eae8f0b09e3e8ba6bd01e6808e6b96c6a5bdd345af0bac72f"


async def test_insert_applies_defaults_and_completes_foreign_keys(ops: Ops) -> None:
    acme = await ops.row('concept==v1:ops:customer;id=="acme"')
    assert acme["payload"] == {
        "name": "Acme",
        "tier": "gold",
        "ownerUserId": "v1:identity:user:u1",
        "prefs": {"sms": True},
    }


async def test_defaults_inside_a_block_apply_only_when_the_block_is_there(ops: Ops) -> None:
    bolt = await ops.row('concept==v1:ops:customer;id=="bolt"')
    assert bolt["payload"] == {"name": "Bolt", "tier": "basic", "ownerUserId": "v1:identity:user:u2"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('insert("v1:ops:customer", id="x", payload={ownerUserId:"u1"})', Code.MISSING_REQUIRED_FIELDS),
        (
            'insert("v1:ops:job", id="x", payload={customerId:"acme", title:"T", priority:"1"})',
            Code.INVALID_FIELD_TYPE,
        ),
        (
            'insert("v1:ops:visit", payload={jobId:"j1", kind:"inspection", detail:{minutes:5}})',
            Code.VALIDATION_FAILED,
        ),
        ('insert("v1:ops:job", id="x", payload={customerId:"acme", title:"T", priority:9})', Code.VALIDATION_FAILED),
        (
            'insert("v1:ops:job", id="x", payload={customerId:"acme", title:"T", createdBy:"me"})',
            Code.VALIDATION_FAILED,
        ),
        ('insert("v1:ops:job", id="a:b", payload={customerId:"acme", title:"T"})', Code.VALIDATION_FAILED),
        ('update("v1:ops:customer", id="acme", payload={ownerUserId:"u2"})', Code.VALIDATION_FAILED),
    ],
)
async def test_what_the_schema_forbids_is_refused_with_its_code_and_violations(ops: Ops, text: str, code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run(text, SYSTEM)
    assert caught.value.code is code
    assert caught.value.details["violations"]


async def test_equal_payloads_are_versions_of_one_record_whose_id_is_their_content(ops: Ops) -> None:
    insert = 'insert("v1:ops:route", payload={day:"2026-03-02"})'
    first = await ops.run(insert, SYSTEM)
    assert first.meta.server_id == f"v1:ops:route:{ROUTE}"
    second = await ops.run(insert, SYSTEM)
    assert second.meta.server_id == first.meta.server_id
    assert second.meta.version > first.meta.version


async def test_a_deleted_record_stays_in_the_past_and_can_come_back(ops: Ops) -> None:
    insert = 'insert("v1:ops:route", payload={day:"2026-03-02"})'
    await ops.run(insert, SYSTEM)
    between = (await ops.row(insert))["createdAt"]
    delete = f'delete("v1:ops:route", id="{ROUTE}")'
    await ops.run(delete, SYSTEM)
    assert await ops.shorts("concept==v1:ops:route") == ["r1"]
    assert await ops.shorts(f'asOf(concept==v1:ops:route, "{between}")') == [ROUTE, "r1"]
    history = (await ops.run(f'history(id=="v1:ops:route:{ROUTE}")')).decoded_nodes()
    assert len(history) == 3
    assert history[0]["payload"] == {"id": f"v1:ops:route:{ROUTE}", "deleted": True}
    with pytest.raises(MemqlError) as caught:
        await ops.run(delete, SYSTEM)
    assert caught.value.code is Code.NOT_FOUND
    await ops.run(insert, SYSTEM)
    assert await ops.shorts("concept==v1:ops:route") == [ROUTE, "r1"]
