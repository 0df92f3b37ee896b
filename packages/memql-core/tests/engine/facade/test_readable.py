"""The rows of a concept that a caller may read, when no construct is called."""

from __future__ import annotations

import pytest
from ops_system import BOSS, SYSTEM, U1, U2, Ops

from memql.auth import Actor, guest, local_owner

pytestmark = pytest.mark.anyio


async def newest(ops: Ops, concept: str, actor: Actor, limit: int = 100) -> list[str]:
    rows = await ops.engine.readable.newest(ops.engine.catalog.concepts[concept], actor, limit)
    return [row["id"].rpartition(":")[2] for row in rows]


async def test_a_rule_of_the_concept_decides(ops: Ops) -> None:
    assert await newest(ops, "v1:ops:customer", U1) == ["acme"]
    assert await newest(ops, "v1:ops:customer", U2) == ["bolt"]
    assert await newest(ops, "v1:ops:customer", BOSS) == []
    assert await newest(ops, "v1:ops:customer", SYSTEM) == ["bolt", "acme"]


async def test_of_a_concept_without_a_rule_administrators_see_all_rows_and_others_their_own(ops: Ops) -> None:
    assert ops.engine.catalog.concepts["v1:ops:job"].row_rule is None
    own = 'insert("v1:ops:job", id="j9", payload={customerId: "acme", title: "Mine"})'
    await ops.run(own, Actor(user_id=U1.user_id, role="admin"))
    every = ["j9", "j4", "j3", "j2", "j1"]
    for actor, seen in ((BOSS, every), (local_owner(), every), (U1, ["j9"]), (U2, []), (guest(), [])):
        assert await newest(ops, "v1:ops:job", actor) == seen


async def test_pages_are_bounded_and_deleted_rows_are_not_there(ops: Ops) -> None:
    assert await newest(ops, "v1:ops:job", BOSS, 2) == ["j4", "j3"]
    await ops.run('delete("v1:ops:job", id="j4")')
    assert await newest(ops, "v1:ops:job", BOSS, 2) == ["j3", "j2"]


async def test_rows_are_found_by_words_and_by_ids_under_the_same_rules(ops: Ops) -> None:
    jobs, customers = (ops.engine.catalog.concepts[f"v1:ops:{name}"] for name in ("job", "customer"))
    readable = ops.engine.readable
    found = await readable.matching(jobs, [("title",), ("status",)], '"boiler" or "done"', BOSS, 10)
    assert [row["payload"]["title"] for row in found] == ["Radiator", "Boiler"]
    assert await readable.matching(jobs, [("title",)], '"boiler"', U2, 10) == []
    ids = ["v1:ops:customer:acme", "v1:ops:customer:bolt", "v1:ops:customer:none"]
    for actor, name in ((U1, "Acme"), (U2, "Bolt")):
        (row,) = await readable.of_ids(customers, ids, actor)
        assert row["payload"]["name"] == name
    assert await readable.of_ids(customers, [], U1) == []
