"""Streams between nodes over real sockets: they begin, carry, end, and begin again."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest

from memql.config.value_types import Address
from memql.errors import Code, MemqlError
from memql.mesh.links.dialer import Dialer
from memql.mesh.links.gate import Admission, Gate, OpenGate
from memql.mesh.links.handshake import card_of_info
from memql.mesh.links.link import BATCHES, Link
from memql.mesh.links.service import NodeService, bind
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card, Health, Peers
from memql.mesh.wire.envelopes import FROM_DIALER, METHOD, encode
from memql.mesh.wire.messages import (
    CapabilityQuery,
    CapabilityResponse,
    EventBatch,
    EventForward,
    NodeHeartbeat,
    NodeHello,
    PeerIntroduction,
)
from memql.mesh.wire.records import Record, decode_batch, from_forward
from memql.wire.frames import Frame

pytestmark = pytest.mark.anyio

QUICK = Options(backoff_first=0.02, backoff_most=0.1, heartbeat=0.05, degraded=0.5, offline=2, silence=1, handshake=2)


class Plain:
    """A mesh without credentials, or with a fixed one."""

    def __init__(self, header: str = "") -> None:
        self.header = header
        self.refusals = 0

    async def authorization(self) -> str:
        return self.header

    def refused(self, authorization: str) -> None:
        self.refusals += 1
        self.header = "Bearer good"

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        return None


@dataclass
class End:
    """One node's end of things."""

    name: str
    options: Options = QUICK
    capabilities: frozenset[str] = frozenset({BATCHES})
    incarnation: str = "1"
    frames: list[Frame] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    gaps: int = 0
    refused: Exception | None = None
    """What it raises for capability messages."""
    slow: float = 0.0
    """How many seconds it takes for them."""

    def __post_init__(self) -> None:
        self.peers = Peers(self.name, self.options)
        self.board = Switchboard(self.peers, self._receive, lambda link: NodeHeartbeat(), self.options)
        self.credential = Plain()
        self.address = ""

    def card(self) -> Card:
        return Card(id=self.name, type="agent", capabilities=self.capabilities, incarnation=self.incarnation)

    def _receive(self, link: Link, frame: Frame) -> Awaitable[None] | None:
        self.frames.append(frame)
        if self.refused is not None and frame.name.startswith("capability"):
            raise self.refused
        if self.slow and frame.name.startswith("capability"):
            return anyio.sleep(self.slow)
        message = frame.message() if frame.name else None
        if isinstance(message, EventBatch):
            self.gaps += message.gap
            self.records += decode_batch(message.events)
        elif isinstance(message, EventForward):
            self.records.append(from_forward(message))
        elif isinstance(message, PeerIntroduction) and not message.removal:
            self.peers.introduced(card_of_info(info) for info in message.peers)
        return None

    def dialer(self, address: str) -> Dialer:
        return Dialer(address, self.card, self.credential, self.peers, self.board, self.options)

    def names(self) -> list[str]:
        return [frame.name for frame in self.frames]


@asynccontextmanager
async def serving(end: End, gate: Gate | None = None, port: int = 0) -> AsyncIterator[NodeService]:
    service = NodeService(end.card, gate or OpenGate(), end.peers, end.board, end.options)
    async with bind(Address("127.0.0.1", port), None, 0.02) as listener, anyio.create_task_group() as tasks:
        end.address = str(listener.address)
        await listener.serve(service)
        tasks.start_soon(end.board.keep_beating)
        try:
            yield service
        finally:
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def dialing(end: End, *addresses: str) -> AsyncIterator[list[Dialer]]:
    dialers = [end.dialer(address) for address in addresses]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end.board.keep_beating)
        for dialer in dialers:
            tasks.start_soon(dialer.run)
        try:
            yield dialers
        finally:
            tasks.cancel_scope.cancel()


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  another task's state
            await anyio.sleep(0.005)


def event(number: int, size: int = 10) -> Record:
    return Record(str(number), "t", 200, 0, "a", 3, 1, None, b'{"x":"' + b"y" * size + b'"}')


async def test_two_nodes_learn_of_each_other_and_beat() -> None:
    a, b = End("a"), End("b")
    async with serving(a), dialing(b, a.address):
        await until(lambda: a.peers.get("b") and b.peers.get("a"))
        await until(lambda: a.names().count("heartbeat") > 2 and b.names().count("heartbeat") > 2)
        known = a.peers.get("b")
        assert known is not None
        assert (known.health, known.observed, known.type) == (Health.HEALTHY, True, "agent")


async def test_events_travel_both_ways_in_order_and_in_batches() -> None:
    a, b = End("a"), End("b")
    async with serving(a), dialing(b, a.address):
        await until(lambda: "b" in a.board.lines and "a" in b.board.lines)
        for number in range(1000):
            a.board.lines["b"].offer(event(number))
            b.board.lines["a"].offer(event(number))
        await until(lambda: len(a.records) == len(b.records) == 1000)
        assert [record.id for record in a.records] == [record.id for record in b.records] == list(map(str, range(1000)))
        assert a.names().count("event_batch") < 50


async def test_a_peer_without_batches_gets_single_frames() -> None:
    a, b = End("a"), End("b", capabilities=frozenset())
    async with serving(a), dialing(b, a.address):
        await until(lambda: "b" in a.board.lines)
        a.board.lines["b"].offer(event(1))
        await until(lambda: b.records)
        assert b.names().count("event_forward") == 1
        assert "event_batch" not in b.names()


async def test_an_overflow_is_told_with_the_next_batch() -> None:
    a, b = End("a", options=replace(QUICK, outbox_capacity=10)), End("b")
    async with serving(a), dialing(b, a.address):
        await until(lambda: "b" in a.board.lines)
        for number in range(100):
            a.board.lines["b"].offer(event(number))
        await until(lambda: len(b.records) == 10)
        assert b.gaps == 1
        assert b.records[-1].id == "99"


async def test_two_streams_between_two_nodes_carry_each_event_once() -> None:
    a, b = End("a"), End("b")
    async with serving(a), serving(b), dialing(b, a.address), dialing(a, b.address):
        await until(lambda: len(list(a.board)) == 2 and len(list(b.board)) == 2)
        assert a.board.lines["b"].dialed
        assert a.board.dialed("b") is a.board.lines["b"]
        for number in range(10):
            a.board.lines["b"].offer(event(number))
        await until(lambda: len(b.records) >= 10)
        await anyio.sleep(0.05)
        assert len(b.records) == 10


async def test_events_waiting_on_a_stream_that_ends_take_the_other_one() -> None:
    a, b = End("a"), End("b")
    async with serving(a), serving(b), dialing(b, a.address), dialing(a, b.address):
        await until(lambda: len(list(a.board)) == 2 and len(list(b.board)) == 2)
        line = a.board.lines["b"]
        line.close()
        line.offer(event(1))
        await until(lambda: b.records)
        assert b.gaps == 1


async def test_one_node_under_two_addresses_is_kept_on_one() -> None:
    a, b = End("a"), End("b")
    async with serving(a):
        port = a.address.rpartition(":")[2]
        async with dialing(b, f"127.0.0.1:{port}", f"localhost:{port}") as dialers:
            await until(lambda: sorted(d.state for d in dialers) == ["connected", "double"])
            await until(lambda: len(list(a.board)) == 1)
            first = next(d for d in dialers if d.state == "connected")
            first.scope.cancel()
            await until(lambda: [d.state for d in dialers if d is not first] == ["connected"])


async def test_a_node_that_dials_itself_is_refused_and_told_why(caplog: pytest.LogCaptureFixture) -> None:
    a = End("a")
    async with serving(a), dialing(a, a.address) as (dialer,):
        await until(lambda: dialer.failures > 2)
        assert not list(a.board)
    assert "the same node" in caplog.text


async def test_a_peer_that_came_back_replaces_its_dead_self() -> None:
    a, old, new = End("a"), End("b"), End("b", incarnation="2")
    async with serving(a), dialing(old, a.address):
        await until(lambda: "b" in a.board.lines)
        first = a.board.lines["b"]
        async with dialing(new, a.address):
            await until(lambda: a.board.lines.get("b") not in {None, first})
            await until(lambda: not first.alive)


async def test_the_peers_of_a_peer_are_known_by_hearsay_and_introduced_later() -> None:
    a, b, c = End("a"), End("b"), End("c")
    async with serving(a), dialing(b, a.address):
        await until(lambda: a.peers.get("b"))
        async with dialing(c, a.address):
            await until(lambda: c.peers.get("b"))
            known = c.peers.get("b")
            assert known is not None
            assert not known.observed


async def test_hearsay_lives_as_long_as_others_see_the_peer() -> None:
    options = replace(QUICK, gossip_lifetime=0.4, gossip_every=0.1)
    a, b, c = (End(name, options=options) for name in "abc")
    async with serving(a), dialing(c, a.address), dialing(b, a.address):
        await until(lambda: c.peers.get("b"))
        known = c.peers.get("b")
        await until(lambda: c.names().count("peer_intro") > 10)
        assert c.peers.get("b") is not None
        assert known is not None
        assert not known.observed


class Tokens(OpenGate):
    """A gate that knows one good credential."""

    async def admit(self, authorization: str, caller: str) -> Admission:
        if authorization != "Bearer good":
            raise MemqlError(Code.UNAUTHENTICATED, "the credential is not valid")
        return Admission(node_id="b", node_type="agent")


async def test_a_refused_credential_is_replaced_before_the_next_dial() -> None:
    a, b = End("a"), End("b")
    b.credential = Plain("Bearer bad")
    async with serving(a, Tokens()), dialing(b, a.address):
        await until(lambda: "b" in a.board.lines)
        assert b.credential.refusals == 1


async def test_a_hello_that_is_not_what_the_credential_says_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    a, c = End("a"), End("c")
    c.credential = Plain("Bearer good")
    async with serving(a, Tokens()), dialing(c, a.address) as (dialer,):
        await until(lambda: dialer.failures > 1)
        assert not list(a.board)
    assert "another node than the credential" in caplog.text


async def test_a_dialer_that_waits_long_dials_at_once_when_the_node_is_back() -> None:
    patient = replace(QUICK, backoff_first=3600, backoff_most=3600)
    a, b = End("a"), End("b", options=patient)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with dialing(b, f"127.0.0.1:{port}") as (dialer,):
        await until(lambda: dialer.state == "waiting")
        async with serving(a, port=port):
            dialer.hurry()
            await until(lambda: dialer.state == "connected")


async def test_a_silent_stream_is_torn_down_and_dialed_again() -> None:
    a, b = End("a", options=replace(QUICK, heartbeat=60)), End("b")
    async with serving(a), dialing(b, a.address):
        await until(lambda: "a" in b.board.lines)
        first = b.board.lines["a"]
        await until(lambda: not first.alive)
        assert first.end_reason is not None
        assert "nothing came" in first.end_reason.message
        await until(lambda: b.board.lines.get("a") not in {None, first})


async def test_a_node_that_is_slow_to_take_what_came_does_not_call_its_peer_silent() -> None:
    a, b = End("a"), End("b")
    async with serving(a), dialing(b, a.address):
        await until(lambda: "a" in b.board.lines and "b" in a.board.lines)
        first, taken = b.board.lines["a"], anyio.Event()
        b.slow = 2 * QUICK.silence
        a.board.lines["b"].post(CapabilityResponse(request_id="x"))
        a.board.attached.append(lambda link: taken.set())
        with anyio.move_on_after(3 * QUICK.silence):
            await taken.wait()
        assert first.alive
        assert not taken.is_set()


async def test_a_message_that_is_too_large_fails_alone() -> None:
    # A busy machine may take seconds for so many bytes.
    a, b = (End(name, options=replace(QUICK, silence=20, offline=30)) for name in "ab")
    async with serving(a), dialing(b, a.address):
        await until(lambda: "a" in b.board.lines)
        with pytest.raises(MemqlError) as refused:
            b.board.lines["a"].post(CapabilityQuery(capability_name="x" * (33 << 20)))
        assert refused.value.code is Code.INVALID_ARGUMENT
        b.board.lines["a"].post(CapabilityQuery(capability_name="x" * (20 << 20)))
        await until(lambda: "capability_query" in a.names())


async def test_a_hundred_reconnects_leave_nothing_behind_and_lose_nothing_that_was_sent() -> None:
    a, b = End("a"), End("b")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tasks_before = 0
    async with dialing(b, f"127.0.0.1:{port}") as (dialer,):
        for number in range(100):
            async with serving(a, port=port):
                await until(lambda: "b" in a.board.lines and "a" in b.board.lines)
                b.board.lines["a"].offer(event(number))
                await until(lambda number=number: len(a.records) == number + 1)  # type: ignore[misc]
            await until(lambda: dialer.state != "connected" and not list(a.board) and not list(b.board))
            if number == 10:
                tasks_before = len(anyio.get_running_tasks())
        assert len(anyio.get_running_tasks()) <= tasks_before + 2
    gc.collect()
    links = [one for one in gc.get_objects() if isinstance(one, Link)]
    assert len(links) < 10


@asynccontextmanager
async def raw_stream(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel.stream_stream(METHOD)()


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"\xff\xff\xff garbage", grpc.StatusCode.INVALID_ARGUMENT),
        (encode(FROM_DIALER, "1", CapabilityQuery()), grpc.StatusCode.INVALID_ARGUMENT),
        (encode(FROM_DIALER, "1", NodeHello(node_id="x" * 500, node_type="t")), grpc.StatusCode.INVALID_ARGUMENT),
        (b"", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_stream_that_begins_wrong_is_refused_with_a_status(first: bytes, status: grpc.StatusCode) -> None:
    a = End("a")
    async with serving(a), raw_stream(a.address) as call:
        await call.write(first)
        with anyio.fail_after(5):
            assert await call.code() is status


async def test_a_stream_that_says_nothing_is_ended() -> None:
    a = End("a", options=replace(QUICK, handshake=0.2))
    async with serving(a), raw_stream(a.address) as call:
        with anyio.fail_after(5):
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_cannot_be_taken_ends_nothing_and_what_is_a_fault_ends_its_stream_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b, c = End("a"), End("b"), End("c")
    async with serving(a), dialing(b, a.address) as (dialer,), dialing(c, a.address):
        await until(lambda: {"b", "c"} <= a.board.lines.keys() and "a" in b.board.lines and "a" in c.board.lines)
        stays, goes = a.board.lines["c"], b.board.lines["a"]
        a.refused = b.refused = MemqlError(Code.RESOURCE_EXHAUSTED, "there is no room")
        stays_at_c = c.board.lines["a"]
        stays_at_c.post(CapabilityQuery(capability_name="x"))
        await until(lambda: "there is no room" in caplog.text)
        assert stays.alive
        b.refused = RuntimeError("a fault")
        a.board.lines["b"].post(CapabilityResponse(request_id="x"))
        await until(lambda: not goes.alive)
        assert goes.end_reason is not None
        assert goes.end_reason.code is Code.INTERNAL
        b.refused = None
        await until(lambda: dialer.state == "connected" and "b" in a.board.lines)
        assert stays.alive


async def test_garbage_on_a_running_stream_ends_it_with_a_status_and_the_node_lives() -> None:
    a, b = End("a"), End("b")
    async with serving(a), raw_stream(a.address) as call:
        await call.write(encode(FROM_DIALER, "1", NodeHello(node_id="x", node_type="agent")))
        await call.read()
        await call.write(b"\xff\xff\xff")
        with anyio.fail_after(5), pytest.raises(grpc.aio.AioRpcError) as ended:
            while await call.read() is not grpc.aio.EOF:
                pass
        assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        async with dialing(b, a.address):
            await until(lambda: "b" in a.board.lines)
