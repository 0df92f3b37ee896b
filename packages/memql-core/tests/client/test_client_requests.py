from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from memql.client import Code, MemqlError, Reconnect, connect
from memql.client.model import Position
from memql.wire import messages
from memql.wire.frames import Frame, QueryRequest

pytestmark = pytest.mark.anyio


async def test_a_connected_client_knows_its_server(address: str) -> None:
    async with connect(address) as client:
        assert client.status == "connected"
        assert client.server.node_id == "node-1"
        assert "json-rows" in client.server.features


async def test_the_status_is_closed_after_the_block(address: str) -> None:
    async with connect(address) as client:
        pass
    assert client.status == "closed"
    with pytest.raises(MemqlError) as raised:
        await client.query("queryJobs")
    assert raised.value.code is Code.UNAVAILABLE


async def test_a_query_sends_its_arguments_as_variables(address: str, node: Any) -> None:
    async with connect(address) as client:
        result = await client.query("queryJobs", customerId="acme", limit=3, since=datetime(2026, 1, 2, tzinfo=UTC))
        assert result.single().str("title") == "Boiler"
    (sent,) = node.queries()
    assert sent.query == "queryJobs({customerId: $customerId, limit: $limit, since: $since})"
    assert sent.variables == {"customerId": "acme", "limit": 3, "since": "2026-01-02T00:00:00Z"}


async def test_an_integer_beyond_a_double_stands_in_the_text(address: str, node: Any) -> None:
    async with connect(address) as client:
        await client.query("queryJobs", number=2**60 + 1, title="x")
    (sent,) = node.queries()
    assert sent.query == f"queryJobs({{number: {2**60 + 1}, title: $title}})"
    assert sent.variables == {"title": "x"}


async def test_an_argument_without_a_json_form_is_refused(address: str) -> None:
    async with connect(address) as client:
        with pytest.raises(MemqlError) as raised:
            await client.query("queryJobs", when=object())
    assert raised.value.code is Code.INVALID_ARGUMENT


async def test_chunks_of_rows_become_one_result(address: str, node: Any) -> None:
    async def chunks(peer: Any, frame: Frame) -> None:
        await peer.rows(frame, b'{"data":[{"n":1},{"n":2}]}', done=False)
        await peer.rows(frame, b'{"data":[{"n":3}],"meta":{"took":4,"count":3}}')

    node.answers["execute_query"] = chunks
    async with connect(address) as client:
        result = await client.execute("concept==v1:ops:job")
    assert [row.int("n") for row in result.rows] == [1, 2, 3]
    assert (result.meta.took, result.meta.count) == (4, 3)


async def test_structured_values_of_a_node_without_json_rows_are_read_too(address: str, node: Any) -> None:
    async def structured(peer: Any, frame: Frame) -> None:
        bundle = messages.GraphBundle(
            nodes=[
                messages.MemoryNode(
                    id="v1:ops:job:j1", concept="v1:ops:job", created_at=datetime(2026, 1, 1, tzinfo=UTC)
                )
            ],
            root_ids=["v1:ops:job:j1"],
        )
        meta = messages.ResultMeta(count=1, took_ms=2)
        await peer.reply(frame, messages.QueryResultChunk(result=messages.Result(bundle=bundle, meta=meta), done=True))

    node.answers["execute_query"] = structured
    async with connect(address) as client:
        result = await client.execute("concept==v1:ops:job")
    assert result.single()["id"] == "v1:ops:job:j1"
    assert result.meta.count == 1


async def test_an_error_keeps_its_code_and_what_the_server_said(address: str, node: Any) -> None:
    async def refuse(peer: Any, frame: Frame) -> None:
        await peer.fail(
            frame,
            "InvalidArgument",
            "expected a value",
            code="SYNTAX_ERROR",
            position="7",
            errorId="ERR-00ff00",
            details='{"violations":[{"path":"a"}]}',
            line="1",
        )

    node.answers["execute_query"] = refuse
    async with connect(address) as client:
        with pytest.raises(MemqlError) as raised:
            await client.execute("concept==")
    error = raised.value
    assert (error.code, error.position, error.error_id) == (Code.SYNTAX_ERROR, 7, "ERR-00ff00")
    assert error.details["violations"] == [{"path": "a"}]
    assert error.details["line"] == "1"
    assert not error.retryable


async def test_an_error_without_a_code_gets_the_one_of_its_status(address: str, node: Any) -> None:
    async def refuse(peer: Any, frame: Frame) -> None:
        await peer.fail(frame, "PermissionDenied", "no")

    node.answers["execute_query"] = refuse
    async with connect(address) as client:
        with pytest.raises(MemqlError) as raised:
            await client.execute("x()")
    assert raised.value.code is Code.FORBIDDEN


async def test_a_request_without_an_answer_times_out_and_is_cancelled(address: str, node: Any) -> None:
    async def never(peer: Any, frame: Frame) -> None:
        return

    node.answers["execute_query"] = never
    async with connect(address) as client:
        with pytest.raises(MemqlError) as raised:
            await client.execute("concept==v1:ops:job", timeout=0.05)
        assert raised.value.code is Code.TIMEOUT
        cancelled = (await node.wait_for("cancel_request")).message()
    request = await node.wait_for("execute_query")
    assert isinstance(cancelled, messages.CancelRequestMsg)
    assert cancelled.request_id == request.message_id
    assert float(request.metadata["timeout_ms"]) <= 50


async def test_cancelling_a_call_cancels_it_at_the_server_and_keeps_the_stream(address: str, node: Any) -> None:
    async def never(peer: Any, frame: Frame) -> None:
        return

    node.answers["execute_query"] = never
    async with connect(address) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.execute, "concept==v1:ops:job")
            await node.wait_for("execute_query")
            group.cancel_scope.cancel()
        await node.wait_for("cancel_request")
        del node.answers["execute_query"]
        assert len(await client.query("queryJobs")) == 1
    assert len(node.peers) == 1


async def test_a_request_beyond_what_a_stream_carries_at_once_waits_no_longer_than_its_limit(
    address: str, node: Any
) -> None:
    async def never(peer: Any, frame: Frame) -> None:
        return

    node.answers["execute_query"] = never
    async with connect(address) as client:
        async with anyio.create_task_group() as group:
            for _ in range(32):
                group.start_soon(client.execute, "concept==v1:ops:job")
            await node.wait_for("execute_query", 32)
            with pytest.raises(MemqlError) as raised:
                await client.execute("concept==v1:ops:job", timeout=0.05)
            assert raised.value.code is Code.TIMEOUT
            group.cancel_scope.cancel()
        await node.wait_for("cancel_request", 32)
        del node.answers["execute_query"]
        assert len(await client.query("queryJobs")) == 1
    await node.wait_for("execute_query", 33)
    assert node.count("execute_query") == 33


async def test_replies_may_overtake_each_other(address: str, node: Any) -> None:
    held: list[Frame] = []

    async def reorder(peer: Any, frame: Frame) -> None:
        held.append(frame)
        if len(held) == 3:
            for one in reversed(held):
                await peer.rows(one, b'{"data":["' + one.message_id.encode() + b'"]}')

    node.answers["execute_query"] = reorder
    answers: list[Any] = []
    async with connect(address) as client, anyio.create_task_group() as group:

        async def ask() -> None:
            answers.append((await client.execute("concept==v1:ops:job")).data[0])

        for _ in range(3):
            group.start_soon(ask)
    assert answers == [frame.message_id for frame in reversed(held)]


async def test_pages_follow_the_cursor_to_the_end(address: str, node: Any) -> None:
    async def page(peer: Any, frame: Frame) -> None:
        last = QueryRequest.decode(frame.body).cursor == "C1"
        body = b'{"data":[{"n":3}]}' if last else b'{"data":[{"n":1},{"n":2}],"meta":{"hasMore":true,"cursor":"C1"}}'
        await peer.rows(frame, body)

    node.answers["execute_query"] = page
    async with connect(address) as client:
        rows = [row.int("n") async for row in client.pages("queryJobs", page_size=2, customerId="acme")]
    assert rows == [1, 2, 3]
    text = "paginate(queryJobs({customerId: $customerId}), 2)"
    assert [(one.query, one.cursor) for one in node.queries()] == [(text, ""), (text, "C1")]


async def test_a_cursor_travels_beside_the_text(address: str, node: Any) -> None:
    async with connect(address) as client:
        await client.execute("paginate(concept==v1:ops:job, 2)", cursor="C1")
    assert [one.cursor for one in node.queries()] == ["C1"]


async def test_a_token_travels_as_a_bearer_credential_and_a_scheme_is_kept(address: str, node: Any) -> None:
    async def ask() -> str:
        return "Operator top"

    async with connect(address, "abc"):
        pass
    async with connect(address, ask):
        pass
    headers = [{key.lower(): value for key, value in peer.headers.items()} for peer in node.peers]
    assert [one["authorization"] for one in headers] == ["Bearer abc", "Operator top"]


async def test_a_refused_credential_is_told_apart_from_an_absent_node(address: str) -> None:
    with pytest.raises(MemqlError) as raised:
        async with connect(address, "wrong"):
            pass
    assert raised.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("dead", ["127.0.0.1:1", "ws://127.0.0.1:1"])
async def test_nobody_listening_is_unavailable_and_says_what_to_do(dead: str) -> None:
    with pytest.raises(MemqlError, match="memql up") as raised:
        async with connect(dead, timeout=5):
            pass
    assert raised.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("text", ["ftp://host", "grpc://", "host:notaport"])
async def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MemqlError) as raised:
        async with connect(text):
            pass
    assert raised.value.code is Code.INVALID_ARGUMENT


async def test_the_users_own_exception_leaves_the_block_as_it_is(address: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with connect(address):
            raise KeyError("mine")


async def test_access_and_concepts_come_as_plain_values(address: str, node: Any) -> None:
    async def access(peer: Any, frame: Frame) -> None:
        role = messages.UserRole.OWNER
        await peer.reply(frame, messages.MyAccessResult(user_id="u1", primary_email="a@b", cluster_role=role))

    async def concepts(peer: Any, frame: Frame) -> None:
        card = messages.DisplayCard(primary="title")
        one = messages.ConceptDescriptor(
            id="v1:ops:job", version="1.0.0", domain="ops", entity="job", display_card=card
        )
        await peer.reply(frame, messages.ConceptsListResult(concepts=[one], base_topics=["graph.#"]))

    node.answers.update(my_access=access, concepts_list=concepts)
    async with connect(address) as client:
        assert dataclasses.astuple(await client.my_access()) == ("u1", "a@b", "owner")
        (concept,) = await client.concepts()
    assert concept.id == "v1:ops:job"
    assert concept.display_card == {"primary": "title"}


async def test_tools_are_listed_over_pages_and_called(address: str, node: Any) -> None:
    async def tools(peer: Any, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.ListToolsMsg)
        name, more = ("b", "") if message.cursor else ("a", "next")
        tool = messages.ToolDescriptor(name=name, input_schema='{"type":"object"}')
        await peer.reply(frame, messages.ListToolsResult(tools=[tool], next_cursor=more))

    async def call(peer: Any, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.CallToolMsg)
        assert message.arguments is not None
        text = f"{message.name} {message.arguments.fields['n'].number_value:g}"
        item = messages.ToolResultContent(type="text", text=text)
        await peer.reply(frame, messages.CallToolResult(content=[item], is_error=True))

    node.answers.update(list_tools=tools, call_tool=call)
    async with connect(address) as client:
        assert [tool.name for tool in await client.tools.list()] == ["a", "b"]
        result = await client.tools.call("a", n=2)
    assert (result.text, result.is_error) == ("a 2", True)


@pytest.mark.parametrize(
    ("tool", "answer", "failed"),
    [("uiAsk", '{"picked":1}', False), ("uiFail", "ValueError: no", True), ("other", "", True)],
)
async def test_the_server_can_have_this_client_execute_a_tool(
    address: str, node: Any, tool: str, answer: str, failed: bool
) -> None:
    async with connect(address) as client:

        @client.tools.handler("uiAsk")
        async def ask(call: Any) -> Any:
            return {"picked": call.arguments["n"]}

        @client.tools.handler("uiFail")
        async def fail(call: Any) -> Any:
            raise ValueError("no")

        order = messages.ClientToolCall(call_id="k1", tool_name=tool, arguments_json='{"n":1}', timeout_ms=30_000)
        await node.peers[0].reply(Frame(), order)
        result = (await node.wait_for("client_tool_result")).message()
    assert isinstance(result, messages.ClientToolResult)
    assert (result.call_id, result.is_error) == ("k1", failed)
    assert answer in result.content[0].text


async def test_a_run_is_followed_to_its_end(address: str, node: Any) -> None:
    async def run(peer: Any, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.RunAutomationMsg)
        accepted = messages.AutomationRunAccepted(automation=message.automation)
        step = messages.AutomationRunStep(step_id="notify", status="completed", duration_ms=3)
        complete = messages.AutomationRunComplete(status="completed", step_count=1)
        for event in ({"accepted": accepted}, {"step": step}, {"complete": complete}):
            await peer.reply(frame, messages.AutomationRunEvent(run_id="run1", **event))

    node.answers["run_automation"] = run
    async with connect(address) as client:
        events = [event async for event in client.automations.run("sweep", {"n": 1})]
    assert [event.kind for event in events] == ["accepted", "step", "complete"]
    assert events[1].step == "notify"


async def test_leaving_a_run_early_cancels_it(address: str, node: Any) -> None:
    async def run(peer: Any, frame: Frame) -> None:
        accepted = messages.AutomationRunAccepted(automation="sweep")
        await peer.reply(frame, messages.AutomationRunEvent(run_id="run1", accepted=accepted))

    node.answers["run_automation"] = run
    async with connect(address) as client:
        events = client.automations.run("sweep")
        assert (await anext(events)).kind == "accepted"
        await events.aclose()  # type: ignore[attr-defined]
        await node.wait_for("cancel_request")


async def test_a_policy_error_becomes_a_coded_error(address: str, node: Any) -> None:
    async def evaluate(peer: Any, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.EvaluatePolicyMsg)
        if message.policy_name == "known":
            await peer.reply(frame, messages.EvaluatePolicyResult(result_json='{"ok":true}', trace_json="[1]"))
        else:
            await peer.reply(frame, messages.EvaluatePolicyResult(error_code="POLICY_UNKNOWN", error_message="none"))

    node.answers["evaluate_policy"] = evaluate
    async with connect(address) as client:
        result = await client.policies.evaluate("known", {"a": 1}, trace=True)
        assert (result.value, result.trace) == ({"ok": True}, [1])
        with pytest.raises(MemqlError) as raised:
            await client.policies.evaluate("unknown")
    assert raised.value.code is Code.NOT_FOUND
    assert raised.value.details["policyCode"] == "POLICY_UNKNOWN"


async def test_sense_answers_come_with_positions(address: str, node: Any) -> None:
    span = messages.SenseRange(
        start=messages.SensePosition(line=1, column=2), end=messages.SensePosition(line=1, column=5)
    )

    async def diagnose(peer: Any, frame: Frame) -> None:
        one = messages.SenseDiagnostic(range=span, severity=messages.SenseSeverity.WARNING, message="m", code="naming")
        await peer.reply(frame, messages.SenseDiagnoseResult(diagnostics=[one]))

    async def hover(peer: Any, frame: Frame) -> None:
        await peer.reply(frame, messages.SenseHoverResult())

    node.answers.update(sense_diagnose=diagnose, sense_hover=hover)
    async with connect(address) as client:
        (finding,) = await client.sense.diagnose("concept x {}")
        assert (finding.severity, finding.range.start, finding.code) == ("warning", Position(1, 2), "naming")
        assert await client.sense.hover("x", Position(1, 1)) is None


async def test_a_refused_rotation_says_why(address: str, node: Any) -> None:
    async def rotate(peer: Any, frame: Frame) -> None:
        await peer.reply(frame, messages.RotateAuthResult(ok=False, error="verifier_unconfigured"))

    node.answers["rotate_auth"] = rotate
    async with connect(address, reconnect=Reconnect(attempts=1)) as client:
        with pytest.raises(MemqlError) as raised:
            await client.rotate_auth("new")
    assert raised.value.code is Code.UNAUTHENTICATED
