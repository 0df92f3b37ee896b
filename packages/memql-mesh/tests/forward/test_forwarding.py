"""Whole nodes that answer for one another: models on an agent, asked for at the bff."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from mesh_nodes import Member, member, until
from prometheus_client import REGISTRY
from trusted_mesh import calling, hello

from memql.agent import AgentRole
from memql.auth import local_owner, person
from memql.client import Client, connect
from memql.engine.context import RequestContext
from memql.engine.tools.model_ports import Bound, Capability, ChatEvent, ChatRequest, Finish, TextDelta
from memql.errors import Code, MemqlError
from memql.mesh import MeshRole
from memql.mesh.forward.authority import authority_of
from memql.mesh.links.streams import MAX_MESSAGE_BYTES
from memql.mesh.wire.messages import SiForwardRequest, SiForwardResponse
from memql.server.ports import NodeIdentity, Principal, Services
from memql.server.replies import Payload
from memql.server.routing import Route
from memql.server.session import Call
from memql.wire.frames import decode_server, encode_client
from memql.wire.messages import SiChatMessage, SiChatMsg, SiChatResult, SiStreamChunk
from memql.wire.payloads import CLIENT

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client_of(one: Member) -> AsyncIterator[Client]:
    async with connect(str(one.node.server.grpc_address)) as client:
        yield client


async def dialed(one: Member, *others: Member) -> None:
    """Wait until a node can ask others."""
    await until(lambda: all(one.mesh.switchboard.dialed(other.id) for other in others))


# --- the real thing -------------------------------------------------------------------------------------------------


def counted(kind: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("memql_mesh_forwards_total", {"kind": kind, "outcome": outcome}) or 0.0


async def test_a_client_of_the_bff_is_answered_by_an_agent_and_sees_its_events(dsn: str, tmp_path: Path) -> None:
    async with (
        member(dsn, "bff", "bff-1", tmp_path) as bff,
        member(dsn, "agent", "agent-1", tmp_path, made=lambda _: AgentRole()),
        client_of(bff) as client,
    ):
        await until(lambda: bff.mesh.switchboard.dialed("agent-1"))
        async with client.subscribe(kind="ai_stream") as events:
            answered = counted("si_suggest", "answered")
            vectors = await client.si.embed(["a boat", "a ship", "a theorem"])
            assert counted("si_suggest", "answered") == answered + 1
            assert (len(vectors.vectors), len(vectors.vectors[0])) == (3, vectors.dims)
            reply = await client.si.chat("What notes are there?", "extractive")
            assert reply.degraded == "no_model"
            deltas = [delta async for delta in client.si.stream("What notes are there?", "extractive")]
            assert deltas[-1].reply is not None
            assert "".join(delta.text for delta in deltas) == deltas[-1].reply.text
            with anyio.fail_after(10):
                async for event in events:
                    if event.topic.startswith("si.completion"):
                        break
        # The same through the language: the builtin's host code is on the agent.
        result = await client.execute('embedText({texts: ["a boat"]})')
        assert len(result.rows[0]["vectors"][0]) == vectors.dims
        names = [tool.name for tool in await client.tools.list()]
        assert "showNotes" in names


async def test_a_node_without_a_peer_to_ask_says_so(dsn: str, tmp_path: Path) -> None:
    async with member(dsn, "bff", "bff-1", tmp_path) as bff, client_of(bff) as client:
        with pytest.raises(MemqlError) as refused:
            await client.si.chat("hello", timeout=5)
        assert (refused.value.code, refused.value.retryable) == (Code.UNAVAILABLE, True)
        with pytest.raises(MemqlError) as refused:
            await client.execute('embedText({texts: ["a"]})')
        assert refused.value.code is Code.UNAVAILABLE
        # What it can do itself it does itself.
        assert await client.tools.list()


# --- an agent made for tests ----------------------------------------------------------------------------------------


@dataclass
class Script:
    """What agents of a test do with a chat, and what they have noticed."""

    answer: Callable[[Call, str], Awaitable[Payload | None]]
    begun: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def agent(self, name: str) -> Callable[[str], MeshRole]:
        """A role whose nodes follow the script."""
        script = self

        class Scripted(MeshRole):
            port = 0

            def payloads(self, services: Services) -> Iterable[Route]:
                return [Route(name="si_chat", handler=handle), Route(name="si_suggest", handler=handle)]

        async def handle(call: Call) -> Payload | None:
            script.begun.append(name)
            try:
                return await script.answer(call, name)
            except BaseException:
                script.stopped.append(name)
                raise

        Scripted.name = "agent"
        return lambda _: Scripted()


@asynccontextmanager
async def scripted(
    dsn: str, home: Path, script: Script, *names: str
) -> AsyncIterator[tuple[Member, Client, Sequence[Member]]]:
    """A hub, a client of it, and agents that follow a script and that it can ask."""
    async with AsyncExitStack() as stack:
        bff = await stack.enter_async_context(member(dsn, "bff", "bff-1", home))
        agents = [
            await stack.enter_async_context(member(dsn, "agent", name, home, made=script.agent(name))) for name in names
        ]
        client = await stack.enter_async_context(client_of(bff))
        await dialed(bff, *agents)
        yield bff, client, agents


def answered(call: Call, text: str) -> SiChatResult:
    return SiChatResult(request_id=call.request_id, message=SiChatMessage(role="assistant", content=text))


async def hang(call: Call, name: str) -> Payload | None:
    await anyio.sleep_forever()
    return None


async def test_a_request_that_is_cancelled_stops_over_there(dsn: str, tmp_path: Path) -> None:
    script = Script(hang)
    async with scripted(dsn, tmp_path, script, "agent-1") as (bff, client, (agent,)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.si.chat, "hello")
            await until(lambda: script.begun)
            assert agent.mesh.forwarding.load == 1
            tasks.cancel_scope.cancel()
        await until(lambda: script.stopped)
        await until(lambda: agent.mesh.forwarding.load == 0 and len(bff.mesh.forwarding.inflight) == 0)


async def test_a_request_has_until_its_deadline_on_both_sides(dsn: str, tmp_path: Path) -> None:
    script = Script(hang)
    async with scripted(dsn, tmp_path, script, "agent-1") as (bff, client, _):
        with pytest.raises(MemqlError) as late:
            await client.si.chat("hello", timeout=1)
        assert late.value.code is Code.TIMEOUT
        await until(lambda: script.stopped)
        await until(lambda: len(bff.mesh.forwarding.inflight) == 0)


async def test_a_chat_without_an_answer_yet_is_asked_again_elsewhere_when_its_node_is_lost(
    dsn: str, tmp_path: Path
) -> None:
    async def first_hangs(call: Call, name: str) -> Payload | None:
        return answered(call, name) if len(script.begun) > 1 else await hang(call, name)

    script = Script(first_hangs)
    async with scripted(dsn, tmp_path, script, "agent-1", "agent-2") as (bff, client, _):
        async with anyio.create_task_group() as tasks:
            replies: list[Any] = []

            async def ask() -> None:
                replies.append(await client.si.chat("hello"))

            tasks.start_soon(ask)
            await until(lambda: script.begun)
            lost = script.begun[0]
            link = bff.mesh.switchboard.dialed(lost)
            assert link is not None
            link.close()
        assert replies[0].text == ({"agent-1", "agent-2"} - {lost}).pop()


async def test_a_chat_that_has_begun_to_answer_fails_with_its_node(dsn: str, tmp_path: Path) -> None:
    async def begin(call: Call, name: str) -> Payload | None:
        await call.send(SiStreamChunk(request_id=call.request_id, text_delta="well,"))
        return await hang(call, name)

    script = Script(begin)
    async with scripted(dsn, tmp_path, script, "agent-1") as (bff, client, _):
        with pytest.raises(MemqlError) as lost:
            async for delta in client.si.stream("hello"):
                assert delta.text == "well,"
                link = bff.mesh.switchboard.dialed("agent-1")
                assert link is not None
                link.close()
        assert (lost.value.code, lost.value.retryable) == (Code.UNAVAILABLE, True)
        assert len(script.begun) == 1


async def test_the_less_loaded_of_two_agents_is_asked(dsn: str, tmp_path: Path) -> None:
    script = Script(hang)
    async with (
        scripted(dsn, tmp_path, script, "agent-1", "agent-2") as (_, client, _),
        anyio.create_task_group() as tasks,
    ):
        for count in range(1, 11):
            tasks.start_soon(client.si.chat, "hello")
            await until(lambda count=count: len(script.begun) == count)  # type: ignore[misc]
        assert script.begun.count("agent-1") == script.begun.count("agent-2") == 5
        tasks.cancel_scope.cancel()


async def test_a_draining_agent_gets_nothing_new_and_finishes_what_it_has(dsn: str, tmp_path: Path) -> None:
    released = anyio.Event()

    async def wait(call: Call, name: str) -> Payload | None:
        await released.wait()
        return answered(call, "late but here")

    script = Script(wait)
    async with scripted(dsn, tmp_path, script, "agent-1") as (bff, client, (agent,)):
        replies: list[Any] = []

        async def ask() -> None:
            replies.append(await client.si.chat("hello"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: script.begun)
            tasks.start_soon(agent.node.drain)
            await until(lambda: _health(bff, "agent-1") == "DRAINING")
            with pytest.raises(MemqlError) as refused:
                await client.si.suggest("x", {}, timeout=2)
            assert refused.value.code is Code.UNAVAILABLE
            released.set()
        assert replies[0].text == "late but here"


def _health(one: Member, peer_id: str) -> str:
    peer = one.mesh.peers.get(peer_id)
    return "" if peer is None else peer.health.name


async def test_an_answer_that_no_stream_carries_fails_at_once_and_says_why(dsn: str, tmp_path: Path) -> None:
    async def much(call: Call, name: str) -> Payload:
        text = "x" * (MAX_MESSAGE_BYTES + 1)
        return SiChatResult(request_id=call.request_id, message=SiChatMessage(role="assistant", content=text))

    script = Script(much)
    async with scripted(dsn, tmp_path, script, "agent-1") as (_, client, _):
        with anyio.fail_after(10), pytest.raises(MemqlError) as refused:
            await client.si.chat("hello", timeout=60)
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert "too large" in refused.value.message


async def test_a_client_executes_a_tool_that_another_node_calls(dsn: str, tmp_path: Path) -> None:
    async with (
        member(dsn, "bff", "bff-1", tmp_path) as bff,
        member(dsn, "agent", "agent-1", tmp_path, made=lambda _: AgentRole()) as agent,
        client_of(bff) as client,
    ):
        await dialed(bff, agent)

        @client.tools.handler("showNotes")
        async def show(call: Any) -> Any:
            return {"shown": True}

        result = await client.tools.call("showNotes")
        assert (result.is_error, result.text) == (False, '{"shown":true}')


# --- what peers must not do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"memql_envelope": b"\xff\xff\xff"}, "INVALID_ARGUMENT"),
        ({"memql_envelope": b""}, "UNIMPLEMENTED"),
        ({"memql_envelope": encode_client("", CLIENT.by_name["subscribe"].number, b"")}, "UNIMPLEMENTED"),
        ({"memql_envelope": encode_client("", CLIENT.by_name["call_tool"].number, b"")}, ""),
        ({"authority": None}, "FORBIDDEN"),
        ({"request_id": ""}, "INVALID_ARGUMENT"),
    ],
)
async def test_a_request_that_cannot_be_served_is_answered_with_a_code_and_ends(
    dsn: str, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    script = Script(hang)
    async with member(dsn, "agent", "agent-1", tmp_path, made=script.agent("agent-1")) as agent:
        own = NodeIdentity(id="bff-9", type="bff")
        body = bytes(SiChatMsg(messages=[SiChatMessage(role="user", content="x")]))
        request = SiForwardRequest(
            request_id="r1",
            memql_envelope=encode_client("m", CLIENT.by_name["si_chat"].number, body),
            authority=authority_of(Principal(actor=local_owner()), own),
        )
        for name, value in change.items():
            setattr(request, name, value)
        async with calling(agent.mesh.address, "") as caller:
            await caller.say(hello("bff-9"))
            await caller.say(request)
            answer = await caller.wait_for(SiForwardResponse)
        assert answer.done
        frame = decode_server(answer.memql_server_msg)
        assert (frame.name == "query_error") is bool(code)
        assert code.encode() in frame.body
        assert not script.begun


class Parrot:
    """A language model that says what it is told to."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    async def chat(self, bound: Bound, request: ChatRequest, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        said = request.messages[-1].content.strip().removeprefix("Say ")
        yield TextDelta(f"{said}, {ctx.actor.created_by}")
        yield Finish()


class ModelAgent(MeshRole):
    """An agent that reaches the parrot."""

    name = "agent"
    port = 0

    async def prepare(self, services: Services) -> None:
        assert services.models is not None
        services.models.register_chat("Scripted", Parrot())


async def test_a_prompt_runs_where_models_are_and_as_whoever_asks(dsn: str, tmp_path: Path) -> None:
    async with member(dsn, "cognition", "cognition-1", tmp_path) as cognition:
        models = cognition.node.engine.models
        ann = RequestContext(actor=person("v1:identity:user:ann", role="writer"))
        with pytest.raises(MemqlError) as nobody:
            await models.run("sayIt", {"text": "hello"}, ann)
        assert nobody.value.code is Code.UNAVAILABLE
        async with member(dsn, "agent", "agent-1", tmp_path, made=lambda _: ModelAgent()) as agent:
            await dialed(cognition, agent)
            assert not models.reaches_models
            assert await models.run("sayIt", {"text": "hello"}, ann) == "hello, v1:identity:user:ann"
            with pytest.raises(MemqlError) as wrong:
                await models.run("sayIt", {"text": 7}, ann)
            assert wrong.value.code is Code.INVALID_ARGUMENT
