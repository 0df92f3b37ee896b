"""Tools and models: arguments bound as values, stamps, visibility; providers tried in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ops_system import BOSS, U1, Ops

from memql.engine.context import RequestContext
from memql.engine.tools.dispatch import ToolContent, ToolOutcome
from memql.engine.tools.models import Models
from memql.errors import Code, MemqlError
from memql.lang.catalog import Catalog, Provider, Tool

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


class Vendor:
    """A vendor whose models answer, or do not."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers
        self.prompts: list[str] = []

    async def complete(self, provider: Provider, auth: Mapping[str, str], prompt: str, ctx: RequestContext) -> str:
        self.prompts.append(f"{provider.model}|{auth.get('apiKey')}|{prompt}")
        if provider.model not in self.answers:
            raise MemqlError(Code.UNAVAILABLE, "overloaded")
        return self.answers[provider.model]


def models_of(catalog: Catalog, vendor: Vendor) -> Models:
    async def credential(name: str) -> str | None:
        return {"OPS_LLM_KEY": "k"}.get(name)

    models = Models(lambda: catalog, credential)
    models.register("OpenAI", vendor)
    return models


async def test_a_prompt_is_rendered_sent_with_its_key_and_a_json_answer_decoded(ops: Ops) -> None:
    vendor = Vendor({"small-1": '{"ok": true}'})
    models = models_of(ops.engine.catalog, vendor)
    answer = await models.run("jobSummary", {"title": "Boiler", "visits": [{"score": 30}]}, RequestContext(actor=U1))
    assert answer == {"ok": True}
    assert vendor.prompts == ['small-1|k|Job Boiler: [{"score":30}]']


async def test_an_equal_call_within_its_time_is_answered_from_memory(ops: Ops) -> None:
    vendor = Vendor({"small-1": "hello"})
    models = models_of(ops.engine.catalog, vendor)
    for _ in range(3):
        answer = await models.run("jobSummary", {"title": "T", "visits": []}, RequestContext(actor=U1), ttl=60)
        assert answer == "hello"
    assert len(vendor.prompts) == 1


async def test_a_policy_falls_back_in_order_when_a_model_is_unavailable(ops: Ops) -> None:
    catalog = ops.engine.catalog
    small = catalog.providers["smallChat"]
    large = replace(small, key="largeChat", name="largeChat", model="large-1")
    policy = replace(catalog.policies["quickSummary"], fallbacks=("largeChat",))
    catalog = replace(
        catalog,
        providers={**catalog.providers, "largeChat": large},
        policies={**catalog.policies, "quickSummary": policy},
    )
    vendor = Vendor({"large-1": "from the fallback"})
    models = models_of(catalog, vendor)
    context = RequestContext(actor=U1)
    assert await models.run("jobSummary", {"title": "T", "visits": []}, context) == "from the fallback"
    vendor.answers = {}
    with pytest.raises(MemqlError) as caught:
        await models.run("jobSummary", {"title": "T", "visits": []}, context)
    assert caught.value.code is Code.UNAVAILABLE
    assert "smallChat: overloaded; largeChat: overloaded" in caught.value.message
