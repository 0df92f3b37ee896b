"""``si_chat`` on a real node, over both transports."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
from aiohttp import ClientSession
from server_system import Wire

from memql.agent.extractive import NOTICE
from memql.agent.handlers.chat import MAX_CHARACTERS, MAX_MESSAGES
from memql.client import ChatMessage, Client, Code, MemqlError
from memql.client.sync import connect as connect_sync
from memql.engine.context import RequestContext
from memql.engine.tools.model_ports import Bound, Capability, ChatEvent, ChatRequest, TextDelta
from memql.server.grpc_service import SERVICE
from memql.wire.messages import SiChatMessage, SiChatMsg, SiChatResult, SiStreamChunk
from memql.wire.structs import from_struct

from .conftest import EXAMPLES, USERS, AgentNode, Open, heard

pytestmark = pytest.mark.anyio

HERON = "The blue heron nests in the reeds"
QUESTION = "Where does the blue heron nest?"
CITIES = {
    "ABQ": "Albuquerque",
    "DEN": "Denver",
    "LAS": "Las Vegas",
    "DFW": "Dallas",
    "ATL": "Atlanta",
    "ORD": "Chicago",
}
KEY = {"MEMQL_DEFAULT_CHAT_PROVIDER": "strangeChat"}


async def import_airline(agent: AgentNode) -> None:
    """The airports and routes that the disruptions of the example are about, and those as ``memql import`` reads
    them."""
    for iata, city in CITIES.items():
        payload = {"iata": iata, "name": f"{city} International Airport", "city": city, "country": "United States"}
        await agent.write("v1:airline:airport", iata, {**payload, "location": {"latitude": 1.0, "longitude": 1.0}})
    header, *lines = (EXAMPLES / "data" / "disruptions.csv").read_text().splitlines()
    assert header == "routeId,kind,reportedAt,detail"
    async with agent.subscribe("graph.node.created.v1:airline:notice") as notices:
        for number, line in enumerate(lines):
            route, kind, reported, detail = line.split(",", 3)
            carrier, origin, destination = route.split("-")
            ends = {"carrierId": carrier, "originId": origin, "destinationId": destination}
            await agent.write("v1:airline:route", route, ends)
            told = {"routeId": route, "kind": kind, "reportedAt": reported}
            detail = msgspec.json.decode(detail.strip('"').replace('""', '"'))
            await agent.write("v1:airline:disruption", f"d{number}", {**told, "detail": detail})
        with anyio.fail_after(30):
            # The automation tells of all but the delay that is too short to tell.
            await heard(notices, len(lines) - 1)


# --- recall ----------------------------------------------------------------------------------------------------------


async def test_it_says_what_happened_at_denver(either: AgentNode) -> None:
    await import_airline(either)
    async with either.connect("bob") as client:
        reply = await client.si.chat("what happened at Denver?")
        assert reply.text.startswith(NOTICE)
        assert (reply.provider, reply.degraded) == ("extractive", "no_model")
        assert '"crew out of hours" (cancellation, United Airlines, ' in reply.text
        assert '"UA-ABQ-DEN: cancellation"' in reply.text
        cited = {citation.id: citation for citation in reply.citations}
        assert cited["v1:airline:disruption:d3"].field == "detail.reason"
        assert cited["v1:airline:disruption:d3"].concept_id == "v1:airline:disruption"
        assert all(1 >= citation.similarity >= 0.35 for citation in reply.citations)
        assert [one.similarity for one in reply.citations] == sorted(
            (one.similarity for one in reply.citations), reverse=True
        )
        assert "Las Vegas" not in reply.text
        assert (await client.si.chat("what happened at Denver?")).text == reply.text


async def test_a_streamed_answer_comes_in_pieces_and_then_whole(either: AgentNode) -> None:
    await either.write("v1:memo:article", "heron", {"title": HERON})
    async with either.connect("bob") as client:
        deltas = [delta async for delta in client.si.stream(QUESTION)]
        *pieces, last = deltas
        assert [piece.index for piece in pieces] == list(range(len(pieces)))
        assert len(pieces) >= 2
        assert last.reply is not None
        assert "".join(piece.text for piece in pieces) == last.reply.text
        assert last.reply == await client.si.chat(QUESTION)


async def test_the_frames_of_a_stream_are_numbered_and_the_last_one_is_marked(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})
    async with wire(agent) as stream:
        await stream.send(SiChatMsg(request_id="r1", messages=[SiChatMessage(content=QUESTION)], stream=True))
        chunks: list[SiStreamChunk] = []
        while not chunks or not chunks[-1].done:
            chunks.append(await stream.message("si_chunk"))
        whole: SiChatResult = await stream.message("si_chat_result")
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {(chunk.request_id, chunk.provider) for chunk in chunks} == {("r1", "extractive")}
    assert len({chunk.stream_id for chunk in chunks}) == 1
    assert all(chunk.text_delta for chunk in chunks[:-1])
    metadata = from_struct(chunks[-1].metadata)
    assert metadata == from_struct(whole.metadata)
    assert metadata["source"] == {"provider": "extractive", "model": "extractive", "degraded": "no_model"}
    assert whole.message is not None
    assert (whole.request_id, whole.message.role) == ("r1", "assistant")
    assert whole.message.content == "".join(chunk.text_delta or "" for chunk in chunks)


def wire(agent: AgentNode) -> Any:
    import grpc.aio

    class Opened:
        async def __aenter__(self) -> Wire:
            self.channel = grpc.aio.insecure_channel(str(agent.node.server.grpc_address))
            call = self.channel.stream_stream(f"/{SERVICE}/Stream")
            return Wire(call(metadata=[("authorization", "Bearer bob")]))

        async def __aexit__(self, *exc: object) -> None:
            await self.channel.close()

    return Opened()


async def test_two_users_get_what_each_may_read(either: AgentNode) -> None:
    for name in ("ann", "bob"):
        payload = {"text": f"{HERON}, says {name}", "ownerUserId": USERS[name].user_id}
        await either.write("v1:memo:diary", name, payload)
    for name, other in (("ann", "bob"), ("bob", "ann")):
        async with either.connect(name) as client:
            reply = await client.si.chat(QUESTION)
        assert [citation.id for citation in reply.citations] == [f"v1:memo:diary:{name}"]
        assert f"says {name}" in reply.text
        assert f"says {other}" not in reply.text


async def test_nothing_near_is_said_so(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})
    async with agent.connect("bob") as client:
        reply = await client.si.chat("Who wrote the symphonies of Sibelius?")
    assert "Nothing found" in reply.text
    assert (reply.citations, reply.degraded) == ((), "no_model")


# --- tools -----------------------------------------------------------------------------------------------------------


async def test_a_tool_runs_by_slash_and_by_name(either: AgentNode) -> None:
    await either.write("v1:memo:article", "heron", {"title": "Heron", "body": "It waits."})
    async with either.connect("bob") as client:
        for text in ("/findArticle title=Heron", "please ask findArticle title=Heron topic=plants"):
            reply = await client.si.chat(text)
            assert "findArticle gave:" in reply.text
            assert "It waits." in reply.text
            assert reply.metadata["tool"]["ran"] is True
            assert reply.metadata["tool"]["arguments"]["title"] == "Heron"
        wrong = await client.si.chat("/findArticle title=Heron topic=sports")
        assert "findArticle failed:" in wrong.text
        assert wrong.metadata["tool"]["isError"] is True
        lost = await client.si.chat("/showArticles")
        assert "CLIENT_TOOL_UNREACHABLE" in lost.text


async def test_a_tool_that_writes_needs_the_slash_and_the_callers_right(agent: AgentNode) -> None:
    async with agent.connect("bob") as client:
        refused = await client.si.chat("addArticle title=Heron")
        assert "/addArticle" in refused.text
        assert refused.metadata["tool"]["ran"] is False
        assert (await client.execute("queryAllArticles()")).rows == []
        assert "addArticle gave:" in (await client.si.chat("/addArticle title=Heron body=waits")).text
        (row,) = (await client.execute("queryAllArticles()")).rows
        assert (row.str("payload.body"), row["createdBy"]) == ("waits", USERS["bob"].user_id)
        unknown = await client.si.chat("/dropEverything")
        assert "There is no tool 'dropEverything'" in unknown.text


# --- refusals --------------------------------------------------------------------------------------------------------


async def refusal(client: Client, messages: Any, provider: str | None = None) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await client.si.chat(messages, provider)
    return caught.value


async def test_an_unknown_provider_is_refused_with_an_id_to_quote(either: AgentNode) -> None:
    async with either.connect("bob") as client:
        error = await refusal(client, QUESTION, "extractiv")
        assert (error.code, error.details["si"]) == (Code.INVALID_ARGUMENT, "si.invalid_request")
        assert error.suggestion["didYouMean"] == ["extractive"]
        assert error.error_id.startswith("ERR-")
        with pytest.raises(MemqlError, match="did you mean extractive"):
            _ = [delta async for delta in client.si.stream(QUESTION, "extractiv")]


@pytest.mark.parametrize(
    ("messages", "part"),
    [
        ([], "the last message"),
        ("  ", "the last message"),
        ([{"role": "assistant", "content": "hello"}], "the last message"),
        ([{"role": "robot", "content": "hello"}], "'robot'"),
        ([{"content": "x"}] * (MAX_MESSAGES + 1), f"at most {MAX_MESSAGES}"),
        ("x" * (MAX_CHARACTERS + 1), f"more than {MAX_CHARACTERS}"),
    ],
)
async def test_a_conversation_outside_of_the_limits_is_refused(agent: AgentNode, messages: Any, part: str) -> None:
    async with agent.connect("bob") as client:
        error = await refusal(client, messages)
    assert part in error.message
    assert error.details["si"] == "si.invalid_request"


async def test_the_last_message_of_the_user_counts(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})
    talk: list[ChatMessage | Mapping[str, str]] = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(content="Who wrote the symphonies of Sibelius?"),
        {"role": "assistant", "content": "Nobody knows."},
        {"content": QUESTION, "name": "bob"},
    ]
    async with agent.connect("bob") as client:
        assert HERON in (await client.si.chat(talk)).text
        with pytest.raises(MemqlError, match="not text"):
            await client.si.chat([{"role": "user", "text": QUESTION}])


async def test_guests_are_refused(agent: AgentNode) -> None:
    async with agent.connect("guest") as client:
        assert (await refusal(client, QUESTION)).code is Code.FORBIDDEN
        with pytest.raises(MemqlError, match="sign in"):
            await client.si.suggest("embedding", {"texts": ["a"]})


async def test_without_a_key_the_default_is_passed_over_and_with_one_nothing_is_downgraded(
    open_agent: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_agent(**KEY) as agent, agent.connect("bob") as client:
        for route in (None, "strangeChat", "strangeFirst"):
            assert (await client.si.chat(QUESTION, route)).degraded == "no_model"
        monkeypatch.setenv("STRANGE_KEY", "k")
        for route in (None, "strangeChat", "strangeFirst"):
            error = await refusal(client, QUESTION, route)
            assert (error.code, error.details["si"]) == (Code.UNIMPLEMENTED, "si.not_implemented")
            assert "Strange" in error.message
        assert (await client.si.chat(QUESTION, "extractive")).degraded == "no_model"


# --- stopping --------------------------------------------------------------------------------------------------------


class Slow:
    """A model that never ends, and knows whether it was stopped."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self) -> None:
        self.stopped = anyio.Event()

    async def chat(self, bound: Bound, request: ChatRequest, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        try:
            yield TextDelta("once")
            while True:
                await anyio.sleep(0.01)
                yield TextDelta(" and again")
        finally:
            self.stopped.set()


@pytest.mark.parametrize("transport", ["grpc", "websocket"])
async def test_leaving_a_stream_stops_the_work(
    open_agent: Open, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRANGE_KEY", "k")
    async with open_agent(transport, **KEY) as agent, agent.connect("bob") as client:
        slow = Slow()
        agent.node.engine.models.register_chat("Strange", slow)
        async with agent.subscribe("si.completion.*") as told:
            async with aclosing(client.si.stream(QUESTION)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if delta.index > 2:
                        break
            with anyio.fail_after(30):
                await slow.stopped.wait()
                _, ended = await heard(told, 2)
        assert (ended.topic, ended.payload["outcome"]) == ("si.completion.error", "cancelled")
        assert (await client.si.chat(QUESTION, "extractive")).degraded == "no_model"


async def test_a_time_limit_stops_the_work_and_is_told(open_agent: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE_KEY", "k")
    async with open_agent(**KEY) as agent:
        slow = Slow()
        agent.node.engine.models.register_chat("Strange", slow)
        async with wire(agent) as stream:
            message = SiChatMsg(request_id="r1", messages=[SiChatMessage(content=QUESTION)])
            await stream.send(message, metadata={"timeout_ms": "100"})
            failure = await stream.message("query_error")
        assert failure.error.code == "DeadlineExceeded"
        assert msgspec.json.decode(failure.error.metadata["details"])["si"] == "si.timeout"
        with anyio.fail_after(30):
            await slow.stopped.wait()


async def test_a_client_that_goes_away_stops_the_work(open_agent: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE_KEY", "k")
    async with open_agent(**KEY) as agent:
        slow = Slow()
        agent.node.engine.models.register_chat("Strange", slow)
        async with wire(agent) as stream:
            await stream.send(SiChatMsg(request_id="r1", messages=[SiChatMessage(content=QUESTION)], stream=True))
            await stream.message("si_chunk")
        with anyio.fail_after(30):
            await slow.stopped.wait()


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_the_bus_hears_of_a_completion_without_its_text(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})
    async with agent.subscribe("si.completion.*") as told, agent.connect("bob") as client:
        await client.si.chat(QUESTION)
        with anyio.fail_after(30):
            started, finished = await heard(told, 2)
    assert (started.topic, finished.topic) == ("si.completion.started", "si.completion.finished")
    for event in (started, finished):
        assert event.actor == event.payload["userId"] == USERS["bob"].user_id
        assert event.payload["provider"] == "extractive"
        assert event.payload["degraded"] == "no_model"
        assert event.payload["requestId"] == started.payload["requestId"]
        assert b"heron" not in event.json.lower()
    assert finished.payload["durationMs"] >= 0
    assert "inputTokens" not in finished.payload


async def test_clients_see_their_own_completions_and_administrators_all(agent: AgentNode) -> None:
    async with (
        agent.connect("ann") as ann,
        agent.connect("bob") as bob,
        agent.connect("boss") as boss,
        ann.subscribe(kind="ai_stream", filter="completion.finished") as anns,
        boss.subscribe(kind="ai_stream", filter="completion.finished") as all_,
    ):
        await bob.si.chat(QUESTION)
        await ann.si.chat(QUESTION)
        assert (await anns.next(30)).payload["userId"] == USERS["ann"].user_id
        assert [(await all_.next(30)).payload["userId"] for _ in range(2)] == [
            USERS["bob"].user_id,
            USERS["ann"].user_id,
        ]


# --- other ways in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "prefix"), [("siChat", "si"), ("aiChat", "ai"), ("ai_chat", "ai")])
async def test_json_frames_are_answered_as_they_are_spelt(agent: AgentNode, asked: str, prefix: str) -> None:
    address = f"http://{agent.node.server.http_address}/memql/ws"
    body = {"messageId": "1", asked: {"messages": [{"content": "/allArticles"}], "stream": True}}
    async with ClientSession() as http, http.ws_connect(address, headers={"Authorization": "Bearer bob"}) as socket:
        assert "serverHello" in await socket.receive_json(timeout=30)
        await socket.send_json(body)
        frames = [await socket.receive_json(timeout=30)]
        while f"{prefix}ChatResult" not in frames[-1]:
            frames.append(await socket.receive_json(timeout=30))
    chunks = [frame[f"{prefix}Chunk"] for frame in frames[:-1]]
    assert [int(chunk["index"]) for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1]["done"] is True
    whole = frames[-1][f"{prefix}ChatResult"]
    assert whole["metadata"]["source"]["degraded"] == "no_model"
    assert whole["message"]["content"] == "".join(chunk.get("textDelta") or "" for chunk in chunks)


async def test_the_client_for_code_without_a_loop_does_the_same(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})

    def talk() -> tuple[str, list[str], int]:
        with connect_sync(str(agent.node.server.grpc_address), "bob") as client:
            pieces = [delta.text for delta in client.si.stream(QUESTION)]
            found = client.si.embed(["a", "b"])
            return client.si.chat(QUESTION).text, pieces, len(found.vectors)

    whole, pieces, count = await anyio.to_thread.run_sync(talk)
    assert whole == "".join(pieces)
    assert count == 2


async def memql(agent: AgentNode, *arguments: str) -> tuple[int, str, str]:
    """Run the command beside the node."""
    command = [sys.executable, "-m", "memql", *arguments]
    options = ["--server", str(agent.node.server.grpc_address), "--token", "bob"]
    done = await anyio.run_process([*command, *options], check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_the_command_shows_the_answer_what_it_quotes_and_that_no_model_wrote_it(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": HERON})
    code, out, err = await memql(agent, "si", "chat", QUESTION)
    assert code == 0
    assert out.startswith(NOTICE)
    assert HERON in out
    assert "[1] v1:memo:article:heron  title  " in err
    assert "degraded: no_model" in err
    code, out, _ = await memql(agent, "si", "chat", "--json", QUESTION)
    assert code == 0
    assert msgspec.json.decode(out)["citations"][0]["id"] == "v1:memo:article:heron"
    code, out, _ = await memql(agent, "si", "embed", "--json", "one", "two")
    assert code == 0
    assert len(msgspec.json.decode(out)["vectors"]) == 2
    code, _, err = await memql(agent, "si", "chat", QUESTION, "--provider", "nobody")
    assert (code, "INVALID_ARGUMENT" in err) == (1, True)
