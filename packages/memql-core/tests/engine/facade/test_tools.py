"""Tools: arguments bound as values, stamps, visibility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ops_system import BOSS, U1, Ops

from memql.engine.context import RequestContext
from memql.engine.tools.dispatch import ToolContent, ToolOutcome
from memql.lang.catalog import Tool

pytestmark = pytest.mark.anyio


async def test_an_omitted_argument_drops_its_key_from_the_handler(ops: Ops) -> None:
    found = await ops.engine.tools.call("jobLookup", {"customerId": "acme"}, RequestContext(actor=U1))
    assert not found.is_error
    assert all(title in found.content[0].text for title in ("Boiler", "Radiator", "Valve"))


@pytest.mark.parametrize(
    "value", ['acme"}) ;', "$args.status", '", status: "open', "\\", "acme\n}", "'; DROP TABLE memory_nodes; --"]
)
async def test_no_argument_can_change_what_runs(ops: Ops, value: str) -> None:
    found = await ops.engine.tools.call("jobLookup", {"customerId": value}, RequestContext(actor=U1))
    assert "Boiler" not in found.content[0].text
    assert "SYNTAX_ERROR" not in found.content[0].text
    assert await ops.data("count v1:ops:job") == [4]


async def test_wrong_arguments_and_unknown_tools_are_outcomes_that_say_why(ops: Ops) -> None:
    context = RequestContext(actor=U1)
    for name, args, part in (
        ("jobLookup", {"customerId": "acme", "status": "lost"}, "INVALID_ARGUMENT"),
        ("jobLookup", {}, "customerId"),
        ("jobFinder", {}, "UNKNOWN_FUNCTION"),
    ):
        outcome = await ops.engine.tools.call(name, args, context)
        assert outcome.is_error
        assert part in outcome.content[0].text


async def test_tools_are_for_the_roles_and_scopes_they_name(ops: Ops) -> None:
    tool = replace(ops.engine.catalog.tools["jobLookup"], allowed_roles=("admin",), scopes=("jobs:read",))
    ops.engine.use(replace(ops.engine.catalog, tools={"jobLookup": tool}))
    reader = RequestContext(actor=U1)
    assert ops.engine.tools.visible(reader) == []
    assert "admin" in (await ops.engine.tools.call("jobLookup", {"customerId": "acme"}, reader)).content[0].text
    admin = RequestContext(actor=replace(BOSS, permissions=frozenset({"jobs:read"})))
    assert [tool.name for tool in ops.engine.tools.visible(admin)] == ["jobLookup"]


async def test_a_client_side_tool_runs_in_the_client_or_says_that_none_is_there(ops: Ops) -> None:
    tool = replace(ops.engine.catalog.tools["jobLookup"], client_execution=True)
    ops.engine.use(replace(ops.engine.catalog, tools={"jobLookup": tool}))
    context = RequestContext(actor=U1)
    asked: list[Mapping[str, Any]] = []

    async def client(tool: Tool, args: Mapping[str, Any], ctx: RequestContext) -> ToolOutcome:
        asked.append(args)
        return ToolOutcome(content=(ToolContent(text="done"),))

    answered = await ops.engine.tools.call("jobLookup", {"customerId": "acme", "callerId": "me"}, context, client)
    assert answered.content[0].text == "done"
    assert asked == [{"customerId": "acme", "callerId": U1.user_id}]
    alone = await ops.engine.tools.call("jobLookup", {"customerId": "acme"}, context)
    assert alone.is_error
    assert "CLIENT_TOOL_UNREACHABLE" in alone.content[0].text
