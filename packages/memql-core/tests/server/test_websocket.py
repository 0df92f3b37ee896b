"""The WebSocket bridge: protojson and binary, limits, credentials, origins, close codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from server_system import Node, Serve

from memql.auth import Actor, local_owner
from memql.engine.result import Meta, Result
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.server.ports import Credentials, Principal
from memql.wire.frames import QueryRequest, RowsChunk, decode_server, encode_client
from memql.wire.messages import ClientHello

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def socket(http: ClientSession, node: Node) -> AsyncIterator[ClientWebSocketResponse]:
    async with http.ws_connect(f"{node.url}/memql/ws") as connected:
        assert "serverHello" in await receive(connected)
        yield connected


async def receive(socket: ClientWebSocketResponse, key: str = "") -> dict[str, Any]:
    while True:
        with anyio.fail_after(30):
            message = await socket.receive()
        assert message.type is WSMsgType.TEXT, message
        frame = json.loads(message.data)
        assert isinstance(frame, dict)
        if not key or key in frame:
            return frame


async def closed(socket: ClientWebSocketResponse) -> int | None:
    with anyio.fail_after(30):
        while (await socket.receive()).type not in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING}:
            pass
    return socket.close_code


async def test_the_first_frame_is_the_server_hello(http: ClientSession, node: Node) -> None:
    async with http.ws_connect(f"{node.url}/memql/ws") as socket:
        frame = await receive(socket)
    assert frame["serverHello"]["nodeId"] == "node-1"
    assert frame["serverHello"]["version"] == "v1"


async def test_a_later_hello_is_answered(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"messageId": "1", "clientHello": {"clientId": "c", "features": ["drain-notice"]}})
    frame = await receive(socket)
    assert frame["correlateTo"] == "1"
    assert frame["serverHello"]["heartbeatMs"] == 30_000


@pytest.mark.parametrize("key", ["executeQuery", "execute_query"])
async def test_a_query_result_has_its_own_shape(socket: ClientWebSocketResponse, key: str) -> None:
    body = {"requestId": "q1", "query": "rows 1", "variables": {"big": 2**53 + 1}, "unknown": 1}
    await socket.send_json({"messageId": "1", key: body})
    frame = await receive(socket)
    assert frame.pop("messageId")
    assert frame == {
        "correlateTo": "1",
        "queryResult": {
            "requestId": "q1",
            "result": {
                "data": [{"n": 0, "by": "v1:identity:user:local-dev", "big": 2**53 + 1}],
                "meta": {"count": 1, "took": 0, "clientId": "memql-ws", "serverId": "node-1"},
            },
            "done": True,
        },
    }


async def test_rows_are_spliced_in_as_the_database_built_them(socket: ClientWebSocketResponse, node: Node) -> None:
    row = b'{ "kept" :  1.50, "order": {"b":1,"a":2} }'

    async def rows() -> Result:
        return Result(nodes=[row], meta=Meta(count=1))

    node.engine.answers["spaced"] = rows
    await socket.send_json({"messageId": "1", "executeQuery": {"query": "spaced"}})
    with anyio.fail_after(30):
        message = await socket.receive()
    assert row.decode() in message.data


async def test_twenty_megabytes_of_rows_come_through(socket: ClientWebSocketResponse, node: Node) -> None:
    row = json.dumps("x" * 1_000_000).encode()

    async def rows() -> Result:
        return Result(data=[row] * 20)

    node.engine.answers["big"] = rows
    await socket.close()
    async with ClientSession() as http, http.ws_connect(f"{node.url}/memql/ws", max_msg_size=0) as big:
        await receive(big)
        await big.send_json({"messageId": "1", "executeQuery": {"query": "big"}})
        frame = await receive(big)
        assert len(frame["queryResult"]["result"]["data"]) == 20


async def test_other_answers_emit_unpopulated_fields(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"messageId": "1", "conceptsList": {}})
    frame = await receive(socket)
    assert frame["metadata"] == {}
    result = frame["conceptsListResult"]
    assert (result["requestId"], result["concepts"]) == ("1", [])


async def test_events_are_protojson(socket: ClientWebSocketResponse, node: Node) -> None:
    await socket.send_json(
        {"messageId": "1", "subscribe": {"subscriptionId": "s", "kind": "SUBSCRIPTION_KIND_MESSAGE"}}
    )
    assert (await receive(socket))["event"]["payload"]["status"] == "subscribed"
    node.bus.publish(Event(id="e", topic="message.x", body={"n": 1}))
    event = (await receive(socket))["event"]
    assert event["kind"] == "EVENT_KIND_MESSAGE"
    assert event["seq"] == "1"
    assert event["gapBefore"] is False
    assert event["payload"] == {"n": 1, "topic": "message.x", "eventKind": "message"}
    assert event["ts"].endswith("Z")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON object"),
        ('{"executeQuery":{"query":5}}', "executeQuery: query: expected a string"),
        ('{"executeQuery":{"query":"x","variables":[]}}', "variables"),
        ('{"subscribe":{"kind":"NO_SUCH"}}', "subscribe: kind: expected one of"),
        ('{"ack":{},"myAccess":{}}', "more than one payload"),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_lives(
    socket: ClientWebSocketResponse, text: str, reason: str
) -> None:
    await socket.send_str(text)
    error = (await receive(socket))["queryError"]["error"]
    assert error["code"] == "InvalidArgument"
    assert reason in error["message"]
    await socket.send_json({"messageId": "2", "executeQuery": {"query": "rows 0"}})
    assert "queryResult" in await receive(socket)


async def test_ten_bad_frames_a_minute_close_the_socket(socket: ClientWebSocketResponse) -> None:
    for _ in range(10):
        await socket.send_str("{")
    assert await closed(socket) == 1008


async def test_a_frame_that_is_too_long_closes_the_socket(http: ClientSession, serve: Serve) -> None:
    async with serve(ws_max_message_bytes=2048) as node, http.ws_connect(f"{node.url}/memql/ws") as socket:
        await socket.send_str("x" * 4096)
        assert await closed(socket) == 1009


async def test_a_client_that_begins_in_binary_is_answered_in_binary(http: ClientSession, node: Node) -> None:
    async with http.ws_connect(f"{node.url}/memql/ws") as socket:
        await receive(socket)
        await socket.send_bytes(encode_client("1", 10, bytes(ClientHello(client_id="c", features=["json-rows"]))))
        hello = decode_server(await socket.receive_bytes())
        assert hello.name == "server_hello"
        await socket.send_bytes(encode_client("2", 11, QueryRequest("q1", "rows 1").encode()))
        chunk = RowsChunk.decode(decode_server(await socket.receive_bytes()).body)
        assert chunk.done
        assert json.loads(chunk.json)["meta"]["count"] == 1


async def query(socket: ClientWebSocketResponse, text: str, request_id: str) -> None:
    await socket.send_json({"messageId": f"m-{request_id}", "executeQuery": {"query": text, "requestId": request_id}})


async def test_four_queries_run_and_the_rest_wait_up_to_a_bound(http: ClientSession, serve: Serve) -> None:
    async with (
        serve(ws_max_concurrent_requests=2, ws_max_pending=3) as node,
        http.ws_connect(f"{node.url}/memql/ws") as socket,
    ):
        await receive(socket)
        for n in range(6):
            await query(socket, "wait", f"q{n}")
        refused = (await receive(socket))["queryError"]
        assert (refused["requestId"], refused["error"]["code"]) == ("q5", "ResourceExhausted")
        node.engine.release.set()
        done = {(await receive(socket))["queryResult"]["requestId"] for _ in range(5)}
        assert done == {f"q{n}" for n in range(5)}
        assert node.engine.most_running == 2


async def test_cancelling_a_waiting_query_frees_its_place_once(http: ClientSession, serve: Serve) -> None:
    async with (
        serve(ws_max_concurrent_requests=1, ws_max_pending=1) as node,
        http.ws_connect(f"{node.url}/memql/ws") as socket,
    ):
        await receive(socket)
        await query(socket, "wait", "running")
        await query(socket, "wait", "waiting")
        for _ in range(2):
            await socket.send_json({"messageId": "c", "cancelRequest": {"requestId": "waiting"}})
        answers = [await receive(socket) for _ in range(3)]
        told = sorted(frame["event"]["payload"]["eventType"] for frame in answers if "event" in frame)
        assert told == ["request-cancelled", "request-missing"]
        (ended,) = [frame["queryError"] for frame in answers if "queryError" in frame]
        assert (ended["requestId"], ended["error"]["code"]) == ("waiting", "Canceled")
        await query(socket, "rows 0", "next")
        await query(socket, "rows 0", "too many")
        assert (await receive(socket))["queryError"]["requestId"] == "too many"
        node.engine.release.set()
        assert {(await receive(socket))["queryResult"]["requestId"] for _ in range(2)} == {"running", "next"}


async def test_a_running_request_id_is_refused(socket: ClientWebSocketResponse) -> None:
    await query(socket, "wait", "q1")
    await query(socket, "rows 0", "q1")
    assert (await receive(socket))["queryError"]["error"]["code"] == "AlreadyExists"


class TokenAuthenticator:
    """Knows one token and one guest."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        if credentials.authorization == "Bearer good":
            return Principal(actor=local_owner())
        if credentials.authorization == "Guest good":
            return Principal(actor=Actor(principal="guest:1"))
        raise MemqlError(Code.UNAUTHENTICATED, "no valid credential")


Connect = Callable[..., Awaitable[ClientWebSocketResponse]]


@pytest.mark.parametrize(
    ("headers", "protocols", "parameters", "echoed"),
    [
        ({"Authorization": "Bearer good"}, (), "", None),
        ({}, ("bearer", "good"), "", "bearer"),
        ({}, ("guest", "good"), "", "guest"),
        ({}, (), "?bearer_token=good", None),
        ({}, (), "?token=good", None),
        ({}, (), "?guest_token=good", None),
    ],
)
async def test_a_credential_may_come_three_ways(
    http: ClientSession,
    serve: Serve,
    headers: dict[str, str],
    protocols: tuple[str, ...],
    parameters: str,
    echoed: str | None,
) -> None:
    async with serve(authenticator=TokenAuthenticator()) as node:
        address = f"{node.url}/memql/ws{parameters}"
        async with http.ws_connect(address, headers=headers, protocols=protocols) as socket:
            assert socket.protocol == echoed
            assert "serverHello" in await receive(socket)


async def refusal(http: ClientSession, address: str, **headers: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(address, headers=headers)
    return refused.value.status


async def test_no_identity_is_refused(http: ClientSession, serve: Serve) -> None:
    async with serve(authenticator=TokenAuthenticator()) as node:
        assert await refusal(http, f"{node.url}/memql/ws") == 401


async def test_tokens_in_the_url_are_off_in_production(http: ClientSession, serve: Serve) -> None:
    async with serve(authenticator=TokenAuthenticator(), environment="production") as node:
        assert await refusal(http, f"{node.url}/memql/ws?token=good") == 401


async def test_a_foreign_page_is_refused_and_a_listed_one_is_not(http: ClientSession, serve: Serve) -> None:
    async with serve(ws_origin_patterns="https://*.example.com") as node:
        address = f"{node.url}/memql/ws"
        assert await refusal(http, address, Origin="https://evil.test") == 403
        async with http.ws_connect(address, headers={"Origin": "https://app.example.com"}) as socket:
            assert "serverHello" in await receive(socket)


async def test_without_a_list_only_pages_of_this_machine_may_connect(http: ClientSession, node: Node) -> None:
    address = f"{node.url}/memql/ws"
    assert await refusal(http, address, Origin="https://evil.test") == 403
    async with http.ws_connect(address, headers={"Origin": "http://localhost:3000"}) as socket:
        assert "serverHello" in await receive(socket)


async def test_other_methods_are_not_allowed(http: ClientSession, node: Node) -> None:
    async with http.post(f"{node.url}/memql/ws") as response:
        assert response.status == 405
        assert (await response.json())["code"]


async def test_a_socket_counts_as_an_open_stream(
    http: ClientSession, node: Node, socket: ClientWebSocketResponse
) -> None:
    async with http.get(f"{node.url}/healthz") as response:
        assert (await response.json())["activeStreams"] == 1
