"""The families of payloads beside queries: tools, policies, concepts, editor support, automations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from server_system import Node, Wire

from memql.auth import Actor
from memql.automations.events import RunAccepted, RunComplete, RunEvent, RunStep
from memql.engine.context import RequestContext
from memql.engine.logic.policies import PolicyOutcome
from memql.engine.tools.dispatch import ClientExecution, ToolContent, ToolOutcome
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Annotations, Catalog, Concept, Tool
from memql.lang.diagnostics import Finding
from memql.server.handlers import core_routes
from memql.server.ports import Services
from memql.server.routing import Route, RouteTable
from memql.wire.frames import Frame
from memql.wire.messages import (
    AutomationRunEvent,
    CallToolMsg,
    CancelRequestMsg,
    ClientToolResult,
    ConceptsListMsg,
    ConceptsSubscribeMsg,
    EvaluatePolicyMsg,
    ListToolsMsg,
    NodeMaintenanceMsg,
    RunAutomationMsg,
    SenseCompleteMsg,
    SenseDefinitionMsg,
    SenseDiagnoseMsg,
    SenseHoverMsg,
    SensePosition,
    SenseSeverity,
    SenseSignatureHelpMsg,
    SenseTokenizeMsg,
    ToolResultContent,
)
from memql.wire.structs import from_struct, to_struct

pytestmark = pytest.mark.anyio

SPAN = ast.Span("a.memql", 1, 2, 3, 4, 1, 9)


def tool(name: str, **members: Any) -> Tool:
    given: dict[str, Any] = {
        "key": name,
        "name": name,
        "namespace": "t",
        "file": "f",
        "span": SPAN,
        "fields": (),
        "input_schema": {},
    }
    return Tool(**(given | members))


class FakeTools:
    """Echoes; ``ask`` runs in the client, ``boom`` breaks."""

    def __init__(self, *names: str) -> None:
        self.tools = [tool(name, annotations=Annotations(description=f"about {name}")) for name in names]

    def visible(self, ctx: RequestContext) -> list[Tool]:
        return self.tools

    async def call(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, client: ClientExecution | None = None
    ) -> ToolOutcome:
        if name == "ask":
            assert client is not None
            timeout = args.get("timeout", 5.0)
            return await client(tool("uiClick", annotations=Annotations(timeout=timeout)), args, ctx)
        if name == "boom":
            raise RuntimeError("boom")
        return ToolOutcome(content=(ToolContent(type="json", text=str(dict(args))),))


async def test_tools_are_listed_in_pages(wire: Wire, services: Services) -> None:
    services.tools = FakeTools(*(f"t{n:03}" for n in range(250)))
    await wire.send(ListToolsMsg(request_id="r"))
    page = await wire.message("list_tools_result")
    assert len(page.tools) == 200
    assert page.tools[0].description == "about t000"
    await wire.send(ListToolsMsg(request_id="r", cursor=page.next_cursor))
    rest = await wire.message("list_tools_result")
    assert [found.name for found in rest.tools] == [f"t{n:03}" for n in range(200, 250)]
    assert rest.next_cursor == ""


async def test_a_tool_is_called_with_its_arguments(wire: Wire, services: Services) -> None:
    services.tools = FakeTools()
    await wire.send(CallToolMsg(request_id="r", name="echo", arguments=to_struct({"a": 1})))
    answer = await wire.message("call_tool_result")
    assert (answer.request_id, answer.is_error) == ("r", False)
    assert (answer.content[0].type, answer.content[0].text) == ("json", "{'a': 1}")


async def test_a_tool_that_breaks_is_an_error_result(wire: Wire, services: Services) -> None:
    services.tools = FakeTools()
    await wire.send(CallToolMsg(request_id="r", name="boom"))
    answer = await wire.message("call_tool_result")
    assert answer.is_error
    assert "ERR-" in answer.content[0].text


async def test_a_client_tool_makes_the_round_trip_on_one_stream(wire: Wire, services: Services) -> None:
    services.tools = FakeTools()
    await wire.send(CallToolMsg(request_id="r", name="ask", arguments=to_struct({"x": 1})))
    call = await wire.message("client_tool_call")
    assert (call.tool_name, call.arguments_json, call.timeout_ms) == ("uiClick", '{"x":1}', 5000)
    await wire.send(ClientToolResult(call_id="another", is_error=True))
    await wire.send(ClientToolResult(call_id=call.call_id, content=[ToolResultContent(type="text", text="clicked")]))
    answer = await wire.message("call_tool_result")
    assert (answer.is_error, answer.content[0].text) == (False, "clicked")


async def test_a_client_that_does_not_answer_is_unreachable(wire: Wire, services: Services) -> None:
    services.tools = FakeTools()
    await wire.send(CallToolMsg(request_id="r", name="ask", arguments=to_struct({"timeout": 0.05})))
    answer = await wire.message("call_tool_result")
    assert answer.is_error
    assert "CLIENT_TOOL_UNREACHABLE" in answer.content[0].text


class FakePolicies:
    async def evaluate(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, *, trace: bool = False
    ) -> PolicyOutcome:
        if name == "hidden":
            raise MemqlError(Code.FORBIDDEN, "hidden", details={"policy": "POLICY_NOT_FRONTEND_VISIBLE"})
        if name != "known":
            raise MemqlError(Code.UNKNOWN_FUNCTION, "none")
        return PolicyOutcome(value={"got": dict(args)}, trace={"policy": name} if trace else None)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("known", "", ('{"got":{}}', "", "")),
        ("known", '{"a":1}', ('{"got":{"a":1}}', '{"policy":"known"}', "")),
        ("known", "[1]", ("", "", "POLICY_RUNTIME_ERROR")),
        ("unknown", "", ("", "", "POLICY_UNKNOWN")),
        ("hidden", "", ("", "", "POLICY_NOT_FRONTEND_VISIBLE")),
    ],
)
async def test_policies_are_evaluated(
    wire: Wire, services: Services, name: str, arguments: str, expected: tuple[str, str, str]
) -> None:
    services.policies = FakePolicies()
    asked = EvaluatePolicyMsg(request_id="r", policy_name=name, args_json=arguments, return_trace=bool(arguments))
    await wire.send(asked)
    answer = await wire.message("evaluate_policy_result")
    assert (answer.result_json, answer.trace_json, answer.error_code) == expected


async def test_a_part_that_is_not_on_the_node_is_unavailable(wire: Wire) -> None:
    await wire.send(ListToolsMsg(request_id="r"))
    assert (await wire.message("query_error")).error.code == "Unavailable"
    await wire.send(SenseTokenizeMsg(request_id="r", source="x"))
    assert (await wire.message("query_error")).error.code == "Unavailable"


async def test_concepts_are_listed_with_the_filters_to_subscribe_with(wire: Wire, node: Node) -> None:
    concept = Concept(
        key="v1:ops:job",
        name="job",
        namespace="ops",
        file="f",
        span=SPAN,
        version="1.0.0",
        row_type="object",
        fields=(),
        relationships=(),
        json_schema={},
        schema_id="v1.ops.job",
        schema_hash="",
        display_card={"primary": "title"},
    )
    node.engine.catalog = Catalog(version="2", concepts={concept.key: concept})
    await wire.send(ConceptsListMsg(request_id="r"))
    (listed,) = (await wire.message("concepts_list_result")).concepts
    assert (listed.id, listed.domain, listed.entity) == ("v1:ops:job", "ops", "job")
    assert listed.display_card.primary == "title"
    await wire.send(ConceptsSubscribeMsg(request_id="r", domains=["ops", "other"]))
    (domain,) = (await wire.message("concepts_subscribe_result")).domains
    assert (domain.domain, domain.filters) == ("ops", ["node.created.v1:ops:job"])


@dataclass(frozen=True)
class Item:
    """One answer with every member an editor's answer can have."""

    span: ast.Span = SPAN
    type: str = "keyword"
    literal: str = "query"
    label: str = "queryX"
    kind: str = "query"
    detail: str = "d"
    documentation: str = "doc"
    insert_text: str = "queryX()"
    sort_priority: int = 3
    is_snippet: bool = True
    contents: str = "**x**"
    signatures: tuple[Any, ...] = ()
    parameters: tuple[Any, ...] = ()
    active_signature: int = 0
    active_parameter: int = 1


class FakeSense:
    def tokenize(self, source: str) -> list[Item]:
        return [Item(literal=source)]

    def complete(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> list[Item]:
        return [Item(label=f"{line}:{column}")]

    def diagnose(self, source: str, path: str, catalog: Catalog) -> list[Finding]:
        return [Finding("warning", "unused", "not used", SPAN)]

    def hover(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> Item | None:
        return None if source == "nothing" else Item()

    def definition(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> list[Item]:
        return [Item()]

    def signature_help(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> Item:
        return Item(signatures=(Item(parameters=(Item(label="a"),)),))


async def test_an_editor_gets_its_answers(wire: Wire, services: Services) -> None:
    services.sense = FakeSense()
    at = SensePosition(line=4, column=5)
    await wire.send(SenseTokenizeMsg(request_id="r", source="query"))
    (token,) = (await wire.message("sense_tokenize_result")).tokens
    assert (token.type, token.literal, token.range.end.column) == ("keyword", "query", 4)
    await wire.send(SenseCompleteMsg(request_id="r", source="x", cursor=at))
    (item,) = (await wire.message("sense_complete_result")).items
    assert (item.label, item.sort_priority, item.is_snippet) == ("4:5", 3, True)
    await wire.send(SenseDiagnoseMsg(request_id="r", source="x"))
    (finding,) = (await wire.message("sense_diagnose_result")).diagnostics
    assert (finding.severity, finding.code, finding.range.start.line) == (SenseSeverity.WARNING, "unused", 1)
    await wire.send(SenseHoverMsg(request_id="r", source="x", position=at))
    assert (await wire.message("sense_hover_result")).contents == "**x**"
    await wire.send(SenseHoverMsg(request_id="r", source="nothing", position=at))
    assert (await wire.message("sense_hover_result")).contents == ""
    await wire.send(SenseDefinitionMsg(request_id="r", source="x", position=at))
    (target,) = (await wire.message("sense_definition_result")).targets
    assert target.file == "a.memql"
    await wire.send(SenseSignatureHelpMsg(request_id="r", source="x", position=at))
    shown = await wire.message("sense_signature_help_result")
    assert (shown.signatures[0].parameters[0].label, shown.active_parameter) == ("a", 1)
    await wire.send(SenseHoverMsg(request_id="r", source="x"))
    assert (await wire.message("query_error")).error.code == "InvalidArgument"


class FakeAutomations:
    def __init__(self) -> None:
        self.ended = anyio.Event()

    async def run(
        self,
        name: str,
        payload: Mapping[str, Any],
        *,
        actor: Actor,
        concept: str = "",
        topic: str = "",
        timeout: float = 60.0,
    ) -> AsyncIterator[RunEvent]:
        if name == "unknown":
            raise MemqlError(Code.UNKNOWN_FUNCTION, "there is none")
        try:
            yield RunAccepted(run_id="run-1", automation=name, trigger_kind="event", trigger_topic=topic)
            if name == "endless":
                await anyio.sleep_forever()
            yield RunStep(sequence=1, step_id="a", status="completed", duration=0.25, output=dict(payload))
            yield RunComplete(status="completed", duration=0.5, step_count=1)
        finally:
            self.ended.set()


def run_event(frame: Frame) -> AutomationRunEvent:
    message = frame.message()
    assert isinstance(message, AutomationRunEvent)
    return message


async def test_a_run_tells_accepted_steps_and_completion_in_order(wire: Wire, services: Services) -> None:
    services.automations = FakeAutomations()
    asked = RunAutomationMsg(
        request_id="r", automation="sweep", payload=to_struct({"x": 1}), topic="t", include_step_output=True
    )
    sent = await wire.send(asked)
    frames = [await wire.receive("automation_run_event") for _ in range(3)]
    assert {frame.correlate_to for frame in frames} == {sent}
    first, second, third = (run_event(frame) for frame in frames)
    assert {message.run_id for message in (first, second, third)} == {"run-1"}
    accepted, step, complete = first.accepted, second.step, third.complete
    assert accepted is not None
    assert (accepted.automation, accepted.requested_on_node_id) == ("sweep", "node-1")
    assert step is not None
    assert (step.status, step.duration_ms) == ("completed", 250)
    assert from_struct(step.output) == {"x": 1}
    assert complete is not None
    assert (complete.status, complete.executed_on_node_type) == ("completed", "bff")


async def test_a_run_that_cannot_begin_completes_with_the_reason(wire: Wire, services: Services) -> None:
    services.automations = FakeAutomations()
    await wire.send(RunAutomationMsg(request_id="r", automation="unknown"))
    complete = (await wire.message("automation_run_event")).complete
    assert (complete.status, complete.error, complete.error_code) == ("failed", "UNKNOWN_FUNCTION", 3)


async def test_cancelling_a_run_stops_it(wire: Wire, services: Services) -> None:
    services.automations = automations = FakeAutomations()
    await wire.send(RunAutomationMsg(request_id="r", automation="endless"))
    await wire.message("automation_run_event")
    await wire.send(CancelRequestMsg(request_id="r"))
    complete = (await wire.message("automation_run_event")).complete
    assert (complete.status, complete.error_code) == ("cancelled", 1)
    with anyio.fail_after(30):
        await automations.ended.wait()


async def test_a_node_is_drained_by_an_administrator_once(wire: Wire, services: Services) -> None:
    reasons: list[str] = []

    def drain(reason: str) -> bool:
        reasons.append(reason)
        return len(reasons) == 1

    services.drain = drain
    for already in (False, True):
        await wire.send(NodeMaintenanceMsg(request_id="r", action="drain", reason="upgrade"))
        answer = await wire.message("node_maintenance_result")
        assert (answer.ok, answer.already_draining, answer.state) == (True, already, "DRAINING")
    assert reasons == ["upgrade", "upgrade"]


def test_roles_add_payloads_and_conflicts_are_refused() -> None:
    async def handler(call: Any) -> None:
        return None

    table = RouteTable()
    table.add([Route(name="ack", handler=handler)])
    assert table.get("ack") is not None
    with pytest.raises(ValueError, match="has a route already"):
        table.add([Route(name="ack", handler=handler)])
    with pytest.raises(ValueError, match="not a payload"):
        table.add([Route(name="nothing", handler=handler)])
    with pytest.raises(ValueError, match="exactly one"):
        table.add([Route(name="subscribe")])


def test_every_payload_of_the_protocol_has_a_route() -> None:
    from memql.wire.payloads import CLIENT

    of_roles = {"si_chat", "si_suggest"}
    assert core_routes().routes.keys() | of_roles == CLIENT.by_name.keys()
