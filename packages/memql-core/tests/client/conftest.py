"""A scripted node: real gRPC and WebSocket listeners whose answers a test sets, payload by payload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import betterproto2
import grpc.aio
import pytest
from aiohttp import WSMsgType, web

from memql.wire import messages
from memql.wire.frames import EventFrame, Frame, QueryRequest, RowsChunk, decode_client, encode_server
from memql.wire.payloads import SERVER

Answer = Callable[["Peer", Frame], Awaitable[None]]


@dataclass
class Peer:
    """One open stream, seen from the node."""

    write: Callable[[bytes], Awaitable[None]]
    drop: Callable[[], None]
    headers: dict[str, str] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, data: bytes) -> None:
        """Write one message. The test and the stream's own task take turns: gRPC allows one write at a time."""
        async with self.turn:
            await self.write(data)

    async def reply(self, frame: Frame, message: betterproto2.Message) -> None:
        await self.send(encode_server("r", frame.message_id, SERVER.by_message[type(message)].number, bytes(message)))

    async def rows(self, frame: Frame, json: bytes, *, done: bool = True) -> None:
        chunk = RowsChunk(frame.message_id, json, done).encode()
        await self.send(encode_server("r", frame.message_id, SERVER.by_name["query_result"].number, chunk))

    async def fail(self, frame: Frame, status: str, text: str, **metadata: str) -> None:
        detail = messages.ErrorDetail(code=status, message=text, metadata=metadata)
        await self.reply(frame, messages.QueryErrorMsg(request_id=frame.message_id, error=detail))

    async def event(self, subscription: str, payload: dict[str, Any], *, correlate_to: str = "", **more: Any) -> None:
        notice = EventFrame(subscription, 301, datetime(2026, 1, 2, 3, 4, 5, 600000, UTC), payload, **more)
        await self.send(encode_server("e", correlate_to, SERVER.by_name["event"].number, notice.encode()))


@dataclass
class ScriptedNode:
    """Where it listens, what it got, and how it answers. Unset payloads get the default answer."""

    grpc_address: str = ""
    ws_address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    received: list[Frame] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    arrivals: asyncio.Condition = field(default_factory=asyncio.Condition)
    heartbeat_ms: int = 0

    def queries(self) -> list[QueryRequest]:
        return [QueryRequest.decode(frame.body) for frame in self.received if frame.name == "execute_query"]

    def count(self, name: str) -> int:
        return sum(frame.name == name for frame in self.received)

    async def wait_for(self, name: str, count: int = 1) -> Frame:
        async with self.arrivals:
            await asyncio.wait_for(self.arrivals.wait_for(lambda: self.count(name) >= count), 30)
        return [frame for frame in self.received if frame.name == name][count - 1]

    async def take(self, peer: Peer, data: bytes) -> None:
        frame = decode_client(data)
        answer = self.answers.get(frame.name) or getattr(self, f"_{frame.name}", None)
        if answer is not None:
            await answer(peer, frame)
        async with self.arrivals:
            self.received.append(frame)
            self.arrivals.notify_all()

    async def _client_hello(self, peer: Peer, frame: Frame) -> None:
        await peer.reply(
            frame,
            messages.ServerHello(
                node_id="node-1",
                version="v1",
                features=["json-rows", "event-seq"],
                engine_version="0.1.0",
                session_id=f"s{len(self.peers)}",
                heartbeat_ms=self.heartbeat_ms,
            ),
        )

    async def _execute_query(self, peer: Peer, frame: Frame) -> None:
        await peer.rows(frame, b'{"data":[{"title":"Boiler"}],"meta":{"took":1}}')

    async def _subscribe(self, peer: Peer, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.SubscribeMsg)
        ack = {"eventType": "subscription-created", "status": "subscribed"}
        await peer.event(message.subscription_id, ack, correlate_to=frame.message_id, cursor="c0")


@asynccontextmanager
async def scripted_node(grpc_port: int = 0) -> AsyncIterator[ScriptedNode]:
    """Listen on loopback until the block ends."""
    node = ScriptedNode()
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.stream_stream_rpc_method_handler(_grpc_stream(node))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("znasllc.memql.v1.MemqlService", {"Stream": handler}),)
    )
    node.grpc_address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{grpc_port}')}"
    await server.start()
    app = web.Application()
    app.router.add_get("/memql/ws", _websocket(node))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    node.ws_address = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await runner.cleanup()
        await server.stop(0)


def _grpc_stream(node: ScriptedNode) -> Any:
    async def stream(_: Any, context: Any) -> None:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        task = asyncio.current_task()
        assert task is not None
        lost = asyncio.Event()
        peer = Peer(context.write, lost.set, headers)
        if headers.get("authorization") == "Bearer wrong":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not known")
        node.peers.append(peer)
        gone = asyncio.ensure_future(lost.wait())
        read: asyncio.Future[Any] = gone
        try:
            while True:
                read = asyncio.ensure_future(context.read())
                await asyncio.wait({gone, read}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
                if read.result() is grpc.aio.EOF:
                    return
                await node.take(peer, read.result())
        finally:
            peer.ended.set()
            # A read that fails because the server stops has nobody else to tell.
            for pending in (gone, read):
                pending.cancel()
            await asyncio.gather(gone, read, return_exceptions=True)

    return stream


def _websocket(node: ScriptedNode) -> Any:
    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        if request.headers.get("Authorization") == "Bearer wrong":
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"serverHello":{"nodeId":"node-1"}}')
        transport = request.transport
        assert transport is not None
        peer = Peer(socket.send_bytes, transport.abort, dict(request.headers))
        node.peers.append(peer)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await node.take(peer, message.data)
        return socket

    return upgrade


@pytest.fixture
async def node(anyio_backend: str) -> AsyncIterator[ScriptedNode]:
    async with scripted_node() as running:
        yield running


@pytest.fixture(params=["grpc", "websocket"])
def address(request: pytest.FixtureRequest, node: ScriptedNode) -> str:
    """The node's address, once per transport."""
    return node.grpc_address if request.param == "grpc" else node.ws_address


@pytest.fixture
def scripted_node_factory() -> Any:
    """For tests that run the node on a thread of its own."""
    return scripted_node
