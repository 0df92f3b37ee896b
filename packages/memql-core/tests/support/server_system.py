"""A server on a real socket with an engine made for the test, and a client that speaks frames."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import grpc.aio
import msgspec

from memql.auth import Actor, local_owner
from memql.engine.result import Meta, Result
from memql.errors import MemqlError
from memql.events import Bus, Event
from memql.lang.catalog import Catalog
from memql.server.grpc_service import SERVICE
from memql.server.ports import Credentials, Principal, Services
from memql.server.server import Server
from memql.server.sessions import Sessions
from memql.wire.frames import Frame, QueryRequest, decode_server, encode_client
from memql.wire.payloads import CLIENT

encode = msgspec.json.encode


class FakeEngine:
    """Answers ``rows <n>``, ``wait`` (until released), ``fail`` and whatever a test registers."""

    def __init__(self) -> None:
        self.catalog = Catalog(version="1")
        self.release = anyio.Event()
        self.waiting = anyio.Event()
        self.running = 0
        self.most_running = 0
        self.stopped = 0
        self.answers: dict[str, Callable[[], Awaitable[Result]]] = {}
        self.unreadable: set[str] = set()
        self.cursors: list[str] = []
        self.unreachable: MemqlError | None = None
        self.checks: list[tuple[str, bool]] = [("memory_nodes", True), ("schema_version", True)]

    async def execute(
        self,
        text: str,
        *,
        actor: Actor,
        variables: Mapping[str, Any] | None = None,
        client_id: str = "",
        cursor: str = "",
        timeout: float | None = None,
    ) -> Result:
        self.cursors.append(cursor)
        if text in self.answers:
            return await self.answers[text]()
        if text == "wait":
            return await self._wait()
        count = int(text.removeprefix("rows "))
        rows = [encode({"n": n, "by": actor.created_by, **(variables or {})}) for n in range(count)]
        return Result(data=rows, meta=Meta(count=count, client_id=client_id))

    async def may_read(self, event: Event, actor: Actor) -> bool:
        return event.id not in self.unreadable

    async def _wait(self) -> Result:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.waiting.set()
        try:
            await self.release.wait()
        except BaseException:
            self.stopped += 1
            raise
        finally:
            self.running -= 1
        return Result(data=[b'"done"'])


@dataclass
class Wire:
    """One stream, as frames."""

    stream: Any
    count: int = 0
    pending: list[Frame] = field(default_factory=list)

    async def send(self, message: Any, *, message_id: str = "", metadata: Mapping[str, str] | None = None) -> str:
        """Send a generated message or a query; the message id it went under."""
        self.count += 1
        message_id = message_id or f"m{self.count}"
        query = isinstance(message, QueryRequest)
        number = CLIENT.by_name["execute_query"].number if query else CLIENT.by_message[type(message)].number
        body = message.encode() if isinstance(message, QueryRequest) else bytes(message)
        await self.raw(encode_client(message_id, number, body, metadata))
        return message_id

    async def raw(self, data: bytes) -> None:
        await self.stream.write(data)

    async def query(self, text: str, request_id: str = "", **variables: Any) -> str:
        return await self.send(QueryRequest(request_id, text, variables))

    async def receive(self, name: str = "") -> Frame:
        """The next frame; with a name, the next of that payload, others kept for later."""
        for frame in self.pending:
            if not name or frame.name == name:
                self.pending.remove(frame)
                return frame
        while True:
            with anyio.fail_after(30):
                data = await self.stream.read()
            assert isinstance(data, bytes), "the stream ended"
            frame = decode_server(data)
            if not name or frame.name == name:
                return frame
            self.pending.append(frame)

    async def message(self, name: str) -> Any:
        return (await self.receive(name)).message()


class LocalAuthenticator:
    """Everybody is the local owner."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        return Principal(actor=local_owner())


@dataclass
class Node:
    """A running server and its parts."""

    services: Services
    server: Server
    engine: FakeEngine

    @property
    def sessions(self) -> Sessions:
        return self.server.sessions

    @property
    def bus(self) -> Bus:
        return self.services.bus

    @property
    def url(self) -> str:
        return f"http://{self.server.http_address}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        options = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]
        async with grpc.aio.insecure_channel(str(self.server.grpc_address), options=options) as channel:
            stream = channel.stream_stream(f"/{SERVICE}/Stream")()
            try:
                yield Wire(stream)
            finally:
                stream.cancel()


Serve = Callable[..., AbstractAsyncContextManager[Node]]
