"""One session without a transport: how requests begin, are stopped, and are answered exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
from server_system import FakeEngine

from memql.auth import local_owner
from memql.server.codec import ProtobufCodec
from memql.server.handlers import core_routes
from memql.server.ports import Principal, Services
from memql.server.session import Session
from memql.wire.frames import Frame, QueryRequest, decode_server, encode_client
from memql.wire.messages import CancelRequestMsg, ClientHello, QueryErrorMsg
from memql.wire.payloads import CLIENT

pytestmark = pytest.mark.anyio


@dataclass
class Outlet:
    """Takes what a session writes; while it is shut, a write has begun and does not end."""

    frames: list[Frame] = field(default_factory=list)
    open: anyio.Event = field(default_factory=anyio.Event)
    begun: anyio.Event = field(default_factory=anyio.Event)
    cut: int = 0

    async def write(self, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self.begun.set()
        try:
            await self.open.wait()
        except BaseException:
            self.cut += 1
            raise
        self.frames.append(decode_server(data))

    def named(self, name: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.name == name]

    async def until(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.frames) < count:  # noqa: ASYNC110  the session tells nobody what it has written
                await anyio.sleep(0.001)


@asynccontextmanager
async def session_on(services: Services, outlet: Outlet) -> AsyncIterator[Session]:
    session = Session(
        services=services,
        routes=core_routes(),
        principal=Principal(actor=local_owner()),
        codec=ProtobufCodec(),
        write=outlet.write,
    )
    async with session:
        yield session


def query(request_id: str, text: str) -> bytes:
    return encode_client(request_id, CLIENT.by_name["execute_query"].number, QueryRequest(request_id, text).encode())


def cancel(request_id: str) -> bytes:
    body = bytes(CancelRequestMsg(request_id=request_id))
    return encode_client("c", CLIENT.by_name["cancel_request"].number, body)


def hello() -> bytes:
    return encode_client("h", CLIENT.by_name["client_hello"].number, bytes(ClientHello(features=["json-rows"])))


def error_of(frame: Frame) -> str:
    message = frame.message()
    assert isinstance(message, QueryErrorMsg)
    assert message.error is not None
    return message.error.code


async def test_a_request_cancelled_before_it_begins_is_answered_and_never_runs(
    services: Services, engine: FakeEngine
) -> None:
    outlet = Outlet()
    outlet.open.set()
    async with session_on(services, outlet) as session:
        session.receive(query("q1", "wait"))
        session.receive(cancel("q1"))
        await outlet.until(2)
        await session.wait_idle()
    assert [error_of(frame) for frame in outlet.named("query_error")] == ["Canceled"]
    assert not engine.waiting.is_set()


async def test_a_cancelled_request_is_answered_once_however_often_it_is_cancelled(
    services: Services, engine: FakeEngine
) -> None:
    outlet = Outlet()
    outlet.open.set()
    async with session_on(services, outlet) as session:
        session.receive(query("q1", "wait"))
        await engine.waiting.wait()
        assert session.cancel("q1")
        assert not session.cancel("q1")
        await session.wait_idle()
    assert [error_of(frame) for frame in outlet.named("query_error")] == ["Canceled"]
    assert engine.stopped == 1


async def test_an_answer_that_is_being_written_can_no_longer_be_cancelled(services: Services) -> None:
    outlet = Outlet()
    async with session_on(services, outlet) as session:
        session.receive(query("q1", "rows 1"))
        await outlet.begun.wait()
        assert not session.cancel("q1")
        outlet.open.set()
        await session.wait_idle()
    assert (len(outlet.named("query_result")), len(outlet.named("query_error")), outlet.cut) == (1, 0, 0)


async def test_cancelling_between_chunks_lets_the_frame_under_way_finish(services: Services) -> None:
    outlet = Outlet()
    outlet.open.set()
    async with session_on(services, outlet) as session:
        session.receive(hello())
        await outlet.until(1)
        outlet.open, outlet.begun = anyio.Event(), anyio.Event()
        session.receive(query("q1", "rows 2500"))
        await outlet.begun.wait()
        assert session.cancel("q1")
        outlet.open.set()
        await session.wait_idle()
    assert (len(outlet.named("query_result")), outlet.cut) == (1, 0)
    assert [error_of(frame) for frame in outlet.named("query_error")] == ["Canceled"]


async def test_an_id_is_free_once_its_answer_is_on_the_way(services: Services) -> None:
    outlet = Outlet()
    async with session_on(services, outlet) as session:
        session.receive(query("q1", "rows 1"))
        await outlet.begun.wait()
        session.receive(query("q1", "rows 1"))
        outlet.open.set()
        await session.wait_idle()
    assert (len(outlet.named("query_result")), len(outlet.named("query_error"))) == (2, 0)


async def test_leaving_stops_what_runs_and_what_has_not_begun(services: Services, engine: FakeEngine) -> None:
    outlet = Outlet()
    outlet.open.set()
    with anyio.fail_after(30):
        async with session_on(services, outlet) as session:
            session.receive(query("q1", "wait"))
            await engine.waiting.wait()
            session.receive(query("q2", "wait"))
    assert (engine.running, engine.stopped, session.inflight) == (0, 1, 0)
    assert not outlet.frames


async def test_leaving_lets_an_answer_under_way_finish(services: Services) -> None:
    outlet = Outlet()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as helpers, session_on(services, outlet) as session:
            session.receive(query("q1", "rows 1"))
            await outlet.begun.wait()
            helpers.start_soon(_open_later, outlet)
    assert (len(outlet.named("query_result")), outlet.cut) == (1, 0)


async def _open_later(outlet: Outlet) -> None:
    await anyio.lowlevel.checkpoint()
    outlet.open.set()


async def test_a_stream_that_grpc_cancels_while_it_is_being_left_ends_as_cancelled(services: Services) -> None:
    outlet = Outlet()
    leaving = anyio.Event()

    async def live() -> None:
        with anyio.CancelScope():
            async with session_on(services, outlet) as session:
                session.receive(query("q1", "rows 1"))
                await outlet.begun.wait()
                leaving.set()

    stream = asyncio.create_task(live())
    await leaving.wait()
    await anyio.wait_all_tasks_blocked()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert outlet.cut == 1
