"""Worked examples of the language: mutations, logic, builtins and tools, seeds and decision policies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ops_system import BOSS, SYSTEM, U1, U2, Ops

from memql.auth import Actor
from memql.engine.context import RequestContext
from memql.engine.write.seeds import Seeder
from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio
BOILER = "cd4b74ad0d9bbffacfded935db72085fd5dcef8356e092c088dcc8f6866a3343"
FOLLOW_UP = "437de407"
NOW = datetime(2026, 3, 13, tzinfo=UTC)


@pytest.mark.parametrize("customer", ["acme", "v1:ops:customer:acme"])
async def test_a_mutation_derives_the_id_its_block_says(ops: Ops, customer: str) -> None:
    made = await ops.row(f'mutationCreateJob({{customerId:"{customer}", title:"Boiler"}})', U1)
    assert made["id"] == f"v1:ops:job:{BOILER}"
    assert made["payload"]["status"] == "open"
    assert made["payload"]["priority"] == 3


async def test_merge_fields_keep_what_the_update_does_not_name(ops: Ops) -> None:
    changed = await ops.row('mutationSetPrefs({customerId:"acme", prefs:{language:"es"}})', U1)
    assert changed["payload"]["prefs"] == {"sms": True, "language": "es"}
    assert ops.topics() == ["graph.node.created.v1:ops:customer", "graph.node.updated.v1:ops:customer"]


async def test_the_row_of_another_owner_is_not_found(ops: Ops) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run('mutationSetPrefs({customerId:"acme", prefs:{language:"es"}})', U2)
    assert caught.value.code is Code.NOT_FOUND


async def test_a_mutation_above_the_callers_role_is_forbidden(ops: Ops) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run('mutationDropJob({jobId:"j1"})', U1)
    assert caught.value.code is Code.FORBIDDEN
    await ops.run('mutationDropJob({jobId:"j1"})', BOSS)
    assert "j1" not in await ops.shorts("concept==v1:ops:job")


async def test_a_directive_around_a_mutation_is_refused(ops: Ops) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run('paginate(mutationDropJob({jobId:"j1"}), 2)', BOSS)
    assert caught.value.code is Code.SYNTAX_ERROR


async def test_logic_walks_what_it_read_and_tells_on_a_topic(ops: Ops) -> None:
    result = await ops.call_at("logicEscalate", {}, NOW)
    assert result.decoded_data() == [{"seen": 2, "told": True}]
    assert (await ops.row('concept==v1:ops:job;id=="j3"'))["payload"]["priority"] == 1
    assert len((await ops.run('history(id=="v1:ops:job:j1")')).nodes) == 1
    assert ops.topics().count("ops.swept") == 1


async def test_a_tool_binds_arguments_as_values(ops: Ops) -> None:
    context = RequestContext(actor=U1)
    found = await ops.engine.tools.call("jobLookup", {"customerId": "acme", "status": "open"}, context)
    assert not found.is_error
    assert '"Boiler"' in found.content[0].text
    attack = await ops.engine.tools.call("jobLookup", {"customerId": 'acme"}) ;'}, context)
    assert "SYNTAX_ERROR" not in attack.content[0].text
    assert "Boiler" not in attack.content[0].text


async def test_a_tools_input_schema_hides_what_the_server_injects(ops: Ops) -> None:
    schema = ops.engine.catalog.tools["jobLookup"].input_schema
    assert schema["required"] == ["customerId"]
    assert schema["properties"]["status"]["enum"] == ["open", "done"]
    assert "callerId" not in schema["properties"]
    assert schema["additionalProperties"] is False


async def test_a_prompt_without_a_key_is_unavailable_and_says_which(ops: Ops) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.engine.models.run("jobSummary", {"title": "Boiler", "visits": []}, RequestContext(actor=U1))
    assert caught.value.code is Code.UNAVAILABLE
    assert "OPS_LLM_KEY" in caught.value.message


async def test_seeds_write_once_and_never_again(empty_ops: Ops) -> None:
    for user in ("u1", "u2"):
        await empty_ops.run(
            f'insert("v1:identity:user", id="{user}", payload={{displayName:"{user}", '
            f'primaryEmail:"{user}@example.org"}})',
            SYSTEM,
        )
    await Seeder(empty_ops.engine.writer, empty_ops.database, empty_ops.engine.catalog).apply()
    assert sorted(await empty_ops.shorts("concept==v1:ops:customer", SYSTEM)) == ["house", "starter-u1", "starter-u2"]
    await empty_ops.run('delete("v1:ops:customer", id="starter-u1")', SYSTEM)
    await Seeder(empty_ops.engine.writer, empty_ops.database, empty_ops.engine.catalog).apply()
    assert sorted(await empty_ops.shorts("concept==v1:ops:customer", SYSTEM)) == ["house", "starter-u2"]
    assert len((await empty_ops.run('history(id=="v1:ops:customer:house")', SYSTEM)).nodes) == 1


@pytest.mark.parametrize(("actor", "answer"), [(BOSS, True), (U1, False)])
async def test_a_decision_policy_decides_by_the_caller(ops: Ops, actor: Actor, answer: bool) -> None:
    outcome = await ops.engine.policies.evaluate(
        "canCloseJob", {"status": "open"}, RequestContext(actor=actor), trace=False
    )
    assert outcome.value is answer
