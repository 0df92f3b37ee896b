"""Garbage, oversize and unknown frames: each is refused with a status or passed over, and the node lives."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from fleet import Fleet, FleetNode, fleet
from tally import show
from vitals import check_it_lives, memory

from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER, METHOD, SERVICE, encode
from memql.mesh.wire.messages import (
    CapabilityQuery,
    EventBatch,
    EventForward,
    NodeHeartbeat,
    NodeHello,
    NodeWelcome,
    PeerInfo,
    PeerIntroduction,
    QueryForward,
    SiForwardRequest,
    SiForwardResponse,
    Struct,
)
from memql.mesh.wire.records import Record, encode_batch
from memql.wire.frames import encode_client
from memql.wire.messages import ClientHello
from memql.wire.payloads import CLIENT
from memql.wire.protobuf import bytes_field

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

STREAM = "/znasllc.memql.v1.MemqlService/Stream"
TOPIC = "graph.node.created.v1:cognition:utterance"
TOO_LARGE = bytes_field(3, b"x" * (33 << 20))
UNKNOWN = bytes_field(199, b"whatever a later protocol says")


@pytest.fixture
async def nodes(dsn: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(dsn, tmp_path) as opened:
        await opened.start("bff-1")
        await opened.start("agent-1")
        await opened.ready()
        await opened.whole()
        yield opened


@dataclass(frozen=True)
class Case:
    """What a stranger sends over one stream, and how that ends: a status, or None when the stream lives on."""

    what: str
    method: str
    frames: Sequence[bytes]
    status: grpc.StatusCode | None


def hello(node_id: str = "stranger-1") -> bytes:
    return encode(FROM_DIALER, "1", NodeHello(node_id=node_id, node_type="agent", capabilities=["event-batch/1"]))


def say(message: Any) -> bytes:
    return encode(FROM_DIALER, "2", message)


def record(**more: Any) -> Record:
    members = {"kind": 301, "micros": 0, "origin": "x", "ttl": 3, "hops": 1, "log_seq": None, "payload": b"{}", **more}
    return Record(id=members.pop("id", "e"), topic=members.pop("topic", TOPIC), **members)


def batch(*records: Record) -> bytes:
    return say(EventBatch(events=encode_batch(records), count=len(records)))


RANDOM = random.Random(3)
NOISE = b"\xff\xfe\xfd"
INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
FROM_PEERS = (
    *(Case("noise for a hello", METHOD, [RANDOM.randbytes(RANDOM.randrange(1, 400))], INVALID) for _ in range(10)),
    Case("a cut envelope for a hello", METHOD, [hello()[:-3]], INVALID),
    Case("an unknown payload for a hello", METHOD, [UNKNOWN], INVALID),
    Case("something else for a hello", METHOD, [say(NodeHeartbeat())], INVALID),
    Case("a hello of 33 MiB", METHOD, [TOO_LARGE], EXHAUSTED),
    Case("noise after the hello", METHOD, [hello(), NOISE], INVALID),
    Case("a cut envelope after the hello", METHOD, [hello(), say(CapabilityQuery(capability_name="x"))[:-1]], INVALID),
    Case("33 MiB after the hello", METHOD, [hello(), TOO_LARGE], EXHAUSTED),
    Case("an unknown payload after the hello", METHOD, [hello(), UNKNOWN], None),
    Case("the id of the node itself", METHOD, [hello("bff-1")], grpc.StatusCode.OK),
    Case("numbers that are none", METHOD, [hello(), say(NodeHeartbeat(metrics={"load": "inf"}))], None),
    Case("a batch that is none", METHOD, [hello(), say(EventBatch(events=b"\x93\x01", count=7))], None),
    Case("events with wild members", METHOD, [hello(), batch(record(id="y" * 10_000), record(micros=2**62))], None),
    Case("events that say no JSON", METHOD, [hello(), batch(record(id="n1", payload=b"\xff{"))], None),
    Case(
        "a single event with a wild id",
        METHOD,
        [hello(), say(EventForward(event_id="g:" + "9" * 9000, topic=TOPIC, payload=Struct()))],
        None,
    ),
    Case("a demand that is none", METHOD, [hello(), batch(record(topic="mesh.demand", payload=b"[1"))], None),
    Case("what belongs to nothing", METHOD, [hello(), say(SiForwardRequest(continuation=True))], None),
    Case("a query on nobody's behalf", METHOD, [hello(), say(QueryForward(request_id="1", query="x"))], None),
    Case("ten thousand questions", METHOD, [hello(), *[say(CapabilityQuery(capability_name="x"))] * 10_000], None),
    Case(
        "a crowd of peers that are none",
        METHOD,
        [hello(), say(PeerIntroduction(peers=[PeerInfo(node_id=f"p{n}", node_type="agent") for n in range(20_000)]))],
        None,
    ),
)  # fmt: skip
FROM_CLIENTS = (
    *(Case("noise", STREAM, [RANDOM.randbytes(RANDOM.randrange(1, 400))], None) for _ in range(10)),
    Case("33 MiB", STREAM, [TOO_LARGE], EXHAUSTED),
    Case("ten frames of noise", STREAM, [NOISE] * 10, INVALID),
    Case("an unknown payload", STREAM, [UNKNOWN], None),
    Case("a cut envelope", STREAM, [encode_client("1", CLIENT.by_name["client_hello"].number, b"\x0a\xff")], None),
)


async def play(node: FleetNode, case: Case) -> grpc.StatusCode | None:
    """Send the frames of a case; the status that the stream ends with, None when it answers on."""
    address = node.service if case.method == METHOD else node.grpc
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: Any = channel.stream_stream(case.method)()
        for frame in case.frames:
            await call.write(frame)
        if case.status is None:
            await call.write(question(case))
        with anyio.fail_after(20), suppress(grpc.aio.AioRpcError):
            while (data := await call.read()) is not grpc.aio.EOF:
                # A peer echoes the id of the question, a server names the message that it answers.
                if b"last" in data:
                    call.cancel()
                    return None
        status: grpc.StatusCode = await call.code()
        return status


def question(case: Case) -> bytes:
    """What a stream that lives answers."""
    if case.method == METHOD:
        return say(CapabilityQuery(request_id="last", capability_name="x"))
    return encode_client("last", CLIENT.by_message[ClientHello].number, bytes(ClientHello()))


async def test_frames_that_are_none_are_refused_with_a_status_and_the_node_lives(nodes: Fleet) -> None:
    node = nodes.nodes["bff-1"]
    pid, before = node.pid, memory(node)
    ended: list[dict[str, object]] = []
    async with nodes.client("bff-1") as client, client.subscribe("v1:cognition:utterance") as events:
        for case in (*FROM_PEERS, *FROM_CLIENTS):
            status = await play(node, case)
            ended.append({"sent": case.what, "ended": status, "expected": case.status})
        await client.execute('insert("v1:cognition:utterance", id="last", payload={text: "hello"})')
        while (await events.next(10)).payload.get("nodeId") != "v1:cognition:utterance:last":
            pass
    show("frames that are none", ended)
    show("memory", [{"MB before": before, "MB after": memory(node)}])
    await check_it_lives(nodes, "bff-1", pid)
    assert [row["ended"] for row in ended] == [row["expected"] for row in ended]
    assert memory(node) - before < 300


# --- from a node that is dialed --------------------------------------------------------------------------------------


def answer(message: Any) -> bytes:
    return encode(FROM_ACCEPTOR, "1", message)


WELCOME = answer(NodeWelcome(node_id="agent-9", node_type="agent", capabilities=["event-batch/1"]))
ANSWERS: Sequence[Sequence[bytes]] = (
    [NOISE],
    [answer(NodeHeartbeat())],
    [WELCOME, answer(NodeHeartbeat(metrics={"load": "1e400", "behind": "-inf"})), UNKNOWN, NOISE],
    [
        WELCOME,
        answer(EventBatch(events=b"\xc1")),
        answer(SiForwardResponse(request_id="x", done=True)),
        NOISE,
    ],
)
"""What a stranger answers the dials of a node with, one after the other."""


@asynccontextmanager
async def stranger(dials: list[int]) -> AsyncIterator[str]:
    """A node that answers each dial with the next garbage; notes each dial's number."""

    async def stream(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        dials.append(len(dials))
        await context.read()
        for frame in ANSWERS[dials[-1] % len(ANSWERS)]:
            await context.write(frame)
        while await context.read() is not grpc.aio.EOF:
            pass

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_node_that_dials_a_stranger_lives_and_dials_again(dsn: str, tmp_path: Path) -> None:
    dials: list[int] = []
    async with stranger(dials) as address, fleet(dsn, tmp_path) as opened:
        await opened.start("bff-1", MEMQL_WORKER_PEERS=f"agent={address}")
        await opened.start("agent-1")
        await opened.ready()
        await opened.whole()
        pid = opened.nodes["bff-1"].pid
        with anyio.fail_after(60):
            while len(dials) < len(ANSWERS):  # noqa: ASYNC110  another process
                await anyio.sleep(0.1)
        await check_it_lives(opened, "bff-1", pid)
    show("a stranger was dialed", [{"times": len(dials)}])
