"""Draining: clients and probes are told, running requests finish, then streams end."""

from __future__ import annotations

import anyio
import grpc
import pytest
from aiohttp import ClientSession, WSMsgType
from prometheus_client import REGISTRY
from server_system import Node, Wire

from memql.wire.messages import ClientHello
from memql.wire.structs import from_struct

pytestmark = pytest.mark.anyio


async def ended(wire: Wire) -> grpc.StatusCode:
    with anyio.fail_after(30), pytest.raises(grpc.aio.AioRpcError) as error:
        while True:
            await wire.stream.read()
    return error.value.code()


async def probe(node: Node, path: str) -> int:
    async with ClientSession() as http, http.get(f"{node.url}{path}") as response:
        return response.status


async def test_clients_that_know_notices_get_one_and_probes_turn_while_requests_are_served(node: Node) -> None:
    async with node.connect() as told, node.connect() as untold:
        await told.send(ClientHello(features=["drain-notice"]))
        await told.receive("server_hello")
        await untold.send(ClientHello())
        await untold.receive("server_hello")
        assert await probe(node, "/healthz") == 200
        node.sessions.begin_drain(35.0)
        notice = from_struct((await told.message("event")).payload)
        assert notice == {"eventType": "server-draining", "graceSeconds": 35}
        assert (await probe(node, "/healthz"), await probe(node, "/readyz")) == (503, 503)
        assert await probe(node, "/livez") == 200
        await untold.query("rows 0", "q")
        assert (await untold.receive()).name == "query_result"
        async with node.connect() as late:
            await late.query("rows 0", "q")
            await late.receive("query_result")


async def test_running_requests_finish_and_new_ones_are_sent_elsewhere(node: Node) -> None:
    async with anyio.create_task_group() as tasks, node.connect() as busy, node.connect() as idle:
        await busy.query("wait", "q1")
        await idle.query("rows 0", "q")
        await idle.receive("query_result")
        with anyio.fail_after(30):
            await node.engine.waiting.wait()
        tasks.start_soon(node.server.drain, 0.0, 60.0)
        assert await ended(idle) is grpc.StatusCode.UNAVAILABLE
        await busy.query("rows 0", "q2")
        refused = await busy.message("query_error")
        assert (refused.request_id, refused.error.code) == ("q2", "Unavailable")
        assert refused.error.metadata["retryable"] == "true"
        async with node.connect() as late:
            assert await ended(late) is grpc.StatusCode.UNAVAILABLE
        node.engine.release.set()
        assert (await busy.message("query_result")).request_id == "q1"
        assert await ended(busy) is grpc.StatusCode.UNAVAILABLE
    assert len(node.sessions) == 0


async def greet(wire: Wire) -> None:
    await wire.send(ClientHello(features=["drain-notice"]))
    await wire.receive("server_hello")


async def notice(wire: Wire) -> str:
    return str(from_struct((await wire.message("event")).payload)["eventType"])


async def test_clients_that_were_told_get_time_to_move_and_are_served_meanwhile(node: Node) -> None:
    async with anyio.create_task_group() as tasks:
        async with node.connect() as early, node.connect() as late:
            await greet(early)
            node.sessions.begin_drain(60.0)
            assert await notice(early) == "server-draining"
            await greet(late)
            tasks.start_soon(node.sessions.finish_drain, 60.0, 60.0)
            # It came while the drain had begun, and learns of it only when nobody else can come.
            assert await notice(late) == "server-draining"
            for wire in (early, late):
                await wire.query("rows 0", "q")
                assert (await wire.receive()).name == "query_result"
            assert len(node.sessions) == 2
        with anyio.fail_after(30):
            while len(node.sessions):  # noqa: ASYNC110  the other side of a socket
                await anyio.sleep(0.01)


async def test_clients_that_do_not_move_are_ended_when_their_time_is_over(node: Node) -> None:
    async with node.connect() as wire:
        await greet(wire)
        with anyio.fail_after(30):
            await node.server.drain(0.05, 60.0)
        assert await ended(wire) is grpc.StatusCode.UNAVAILABLE


async def test_the_budget_ends_what_does_not_end_itself(node: Node) -> None:
    before = REGISTRY.get_sample_value("memql_streams_closed_total", {"reason": "drain"}) or 0
    async with node.connect() as wire:
        await wire.query("wait", "q1")
        with anyio.fail_after(30):
            await node.engine.waiting.wait()
            await node.server.drain(0.0, 0.05)
        assert await ended(wire) is grpc.StatusCode.UNAVAILABLE
    assert node.engine.stopped == 1
    assert REGISTRY.get_sample_value("memql_streams_closed_total", {"reason": "drain"}) == before + 1


async def test_sockets_are_closed_as_going_away(node: Node) -> None:
    async with ClientSession() as http, http.ws_connect(f"{node.url}/memql/ws") as socket:
        await socket.receive()
        await node.server.drain(0.0, 5.0)
        with anyio.fail_after(30):
            while (await socket.receive()).type not in {WSMsgType.CLOSE, WSMsgType.CLOSED}:
                pass
        assert socket.close_code == 1001
