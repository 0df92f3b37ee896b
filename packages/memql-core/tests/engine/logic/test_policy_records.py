"""Decision policies whose answers are reused, and those that leave rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from memql.auth import Actor, system
from memql.engine.assembly import build_engine
from memql.engine.context import IdSequence, RequestContext
from memql.engine.engine import Engine
from memql.errors import Code, MemqlError
from memql.events import Bus
from memql.graph.database import Connection, Database
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources

pytestmark = pytest.mark.anyio

TREE = """
@rowAuthz(public)
concept door { name string!  open bool  code string @secret }
@rowAuthz(public)
concept other { name string }

@enabled @internal query door queryDoors { args { name string } filter ?.payload.name == args.name }

@tier("bff") @frontend_visible @cacheable
policy doorsOpen {
  args { name string }
  body {
    doors := queryDoors({ name: args.name })
    return doors.Len()
  }
}
@tier("bff") @frontend_visible @cacheable policy asOuter { return policy("doorsOpen", {}) }
@tier("bff") @frontend_visible @cacheable policy limit { return var("DOOR_LIMIT", "none") }
@tier("bff") @frontend_visible @cacheable policy mine { return actor.userId }
@tier("bff") @frontend_visible @audited
policy mayOpen {
  args { count int! }
  body {
    wrong := if args.count < 0 { queryDoors({ name: error("below zero") }) }
    return args.count < 3 && wrong.Empty()
  }
}
@tier("bff") @frontend_visible @audited @cacheable policy auditedAndKept { return 1 == 1 }
@tier("bff") @frontend_visible @traces_persisted
policy knowsCode {
  args { code string!  note string }
  body {
    doors := queryDoors({})
    known := doors.First().code
    return { same: known == args.code, said: concat("<", known, ">") }
  }
}

@enabled @public logic logicAsk { args { count int! } body { return policy("mayOpen", { count: args.count }) } }
@enabled @public @atomic logic logicAskAtomically {
  args { count int! }
  body { return policy("mayOpen", { count: args.count }) }
}
"""
SYSTEM = RequestContext(actor=system("system:test"))
ADA = RequestContext(actor=Actor(user_id="v1:identity:user:ada", role="writer"))
BOB = RequestContext(actor=Actor(user_id="v1:identity:user:bob", role="writer"))


@pytest.fixture(scope="module")
def tree() -> Catalog:
    return load_tree(read_sources().over(Sources({"lab/all.memql": TREE}))).require()


@pytest.fixture
async def engine(database: Database, tree: Catalog) -> AsyncIterator[Engine]:
    yield build_engine(database, tree, publish=Bus().publish)


async def put(engine: Engine, text: str, **payload: Any) -> None:
    await engine.execute(f'insert("v1:lab:{text}", payload=$p)', actor=SYSTEM.actor, variables={"p": payload})


async def ask(engine: Engine, name: str, ctx: RequestContext = ADA, /, **args: Any) -> Any:
    return (await engine.policies.evaluate(name, args, ctx)).value


async def rows(engine: Engine, concept: str) -> list[dict[str, Any]]:
    found = await engine.execute(f'sort(concept==v1:platform:{concept}, "createdAt", "asc")', actor=SYSTEM.actor)
    return [node["payload"] for node in found.decoded_nodes()]


# --- @cacheable ------------------------------------------------------------------------------------------------------


async def behind(database: Database) -> None:
    """Take every row away past the engine, so that only a kept answer still knows of them."""
    await database.execute("DELETE FROM memory_heads WHERE concept = 'v1:lab:door'")


async def test_an_answer_is_reused_until_a_concept_that_was_read_is_written(engine: Engine, database: Database) -> None:
    await put(engine, "door", name="a")
    assert await ask(engine, "doorsOpen") == 1
    await behind(database)
    await put(engine, "other", name="x")
    assert await ask(engine, "doorsOpen") == 1
    await put(engine, "door", name="b")
    assert await ask(engine, "doorsOpen") == 1
    await put(engine, "door", name="c")
    assert await ask(engine, "doorsOpen") == 2


async def test_what_a_policy_asks_through_another_counts_as_read(engine: Engine, database: Database) -> None:
    for number, name in enumerate("abc", 1):
        await put(engine, "door", name=name)
        assert await ask(engine, "doorsOpen") == number
        assert await ask(engine, "asOuter") == number
    await behind(database)
    assert await ask(engine, "asOuter") == 3


async def test_variables_that_were_read_count_too(engine: Engine) -> None:
    assert await ask(engine, "limit") == "none"
    await engine.values.set_variable("DOOR_LIMIT", "4", SYSTEM)
    assert await ask(engine, "limit") == "4"


async def test_answers_belong_to_their_arguments_and_caller(engine: Engine, database: Database) -> None:
    await put(engine, "door", name="a")
    assert await ask(engine, "doorsOpen", name="a") == 1
    assert await ask(engine, "doorsOpen", name="b") == 0
    assert [await ask(engine, "mine", ctx) for ctx in (ADA, BOB, ADA)] == [
        "v1:identity:user:ada",
        "v1:identity:user:bob",
        "v1:identity:user:ada",
    ]
    await behind(database)
    assert await ask(engine, "doorsOpen", name="a") == 1
    as_admin = replace(ADA, actor=replace(ADA.actor, role="admin"))
    assert await ask(engine, "doorsOpen", as_admin, name="a") == 0


async def test_a_trace_and_a_transaction_look_for_themselves(engine: Engine, database: Database) -> None:
    await put(engine, "door", name="a")
    assert await ask(engine, "doorsOpen") == 1
    await behind(database)

    async def inside(connection: Connection) -> Any:
        return await ask(engine, "doorsOpen", replace(ADA, connection=connection, deferred=[]))

    assert await database.transaction(inside) == 0
    assert await ask(engine, "doorsOpen") == 1
    assert (await engine.policies.evaluate("doorsOpen", {}, ADA, trace=True)).value == 0
    assert await ask(engine, "doorsOpen") == 0


# --- @audited --------------------------------------------------------------------------------------------------------


async def test_every_answer_leaves_one_audit_row(engine: Engine) -> None:
    assert await ask(engine, "mayOpen", count=2) is True
    assert await ask(engine, "mayOpen", BOB, count=9) is False
    result = await engine.call("logicAsk", {"count": 1}, actor=ADA.actor)
    assert result.decoded_data() == [True]
    entries = await rows(engine, "auditEntry")
    assert [(entry["construct"], entry["kind"], entry["actor"], entry["outcome"]) for entry in entries] == [
        ("mayOpen", "policy", "v1:identity:user:ada", "success"),
        ("mayOpen", "policy", "v1:identity:user:bob", "success"),
        ("mayOpen", "policy", "v1:identity:user:ada", "success"),
    ]
    assert entries[0]["role"] == "writer"


async def test_a_reused_answer_is_audited_as_well(engine: Engine) -> None:
    for _ in range(2):
        assert await ask(engine, "auditedAndKept") is True
    assert len(await rows(engine, "auditEntry")) == 2


@pytest.mark.parametrize("logic", ["logicAsk", "logicAskAtomically"])
async def test_a_failed_evaluation_is_audited_even_where_a_transaction_is_taken_back(
    engine: Engine, logic: str
) -> None:
    with pytest.raises(MemqlError, match="below zero"):
        await engine.call(logic, {"count": -1}, actor=ADA.actor)
    (entry,) = await rows(engine, "auditEntry")
    assert (entry["outcome"], entry["code"]) == ("failure", "INVALID_ARGUMENT")


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_evaluated(engine: Engine) -> None:
    with pytest.raises(MemqlError) as caught:
        await ask(engine, "mayOpen", count="many")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await rows(engine, "auditEntry") == []


async def test_a_repeated_run_leaves_no_second_row(engine: Engine) -> None:
    for _ in range(2):
        ctx = replace(ADA, ids=IdSequence(("run-1", "s1", "c1")))
        assert await engine.policies.decide("mayOpen", {"count": 1}, ctx) is True
    await engine.policies.decide("mayOpen", {"count": 1}, replace(ADA, ids=IdSequence(("run-1", "s2", "c1"))))
    assert len(await rows(engine, "auditEntry")) == 2


# --- @traces_persisted -----------------------------------------------------------------------------------------------


async def test_the_trace_of_an_evaluation_is_stored_without_secrets(engine: Engine) -> None:
    await put(engine, "door", name="front", code="hunter2")
    outcome = await engine.policies.evaluate("knowsCode", {"code": "hunter2", "note": "a\x00b"}, SYSTEM)
    assert outcome.value == {"same": True, "said": "<hunter2>"}
    assert outcome.trace is None
    (stored,) = await rows(engine, "policyTrace")
    assert (stored["policy"], stored["actor"]) == ("knowsCode", "system:test")
    assert stored["args"] == {"code": "***", "note": "a\ufffdb"}
    assert stored["result"] == {"same": True, "said": "<***>"}
    assert stored["trace"]["bindings"]["known"] == "***"
    (call,) = stored["trace"]["calls"]
    assert (call["target"], call["result"][0]["payload"]) == ("queryDoors", {"name": "front", "code": "***"})
    assert stored["occurredAt"].endswith("Z")
    assert "hunter2" not in str(stored)


async def test_a_trace_that_is_too_large_is_stored_without_results(engine: Engine) -> None:
    for number in range(3):
        await put(engine, "door", name=f"{number}" * 100_000)
    await ask(engine, "knowsCode", code="x")
    (stored,) = await rows(engine, "policyTrace")
    assert stored["args"] == {}
    assert len(str(stored)) < 10_000


async def test_an_evaluation_that_fails_leaves_its_trace(engine: Engine) -> None:
    with pytest.raises(MemqlError):
        await ask(engine, "knowsCode", replace(ADA, depth=31), code="x")
    stored = await rows(engine, "policyTrace")
    assert [one["trace"]["error"]["code"] for one in stored] == ["RESOURCE_EXHAUSTED"]


async def test_only_the_cluster_owner_reads_what_policies_left(engine: Engine) -> None:
    await ask(engine, "mayOpen", count=1)
    await ask(engine, "knowsCode", code="x")
    boss = Actor(user_id="v1:identity:user:boss", role="admin")
    for concept in ("auditEntry", "policyTrace"):
        assert (await engine.execute(f"concept==v1:platform:{concept}", actor=boss)).meta.count == 0
