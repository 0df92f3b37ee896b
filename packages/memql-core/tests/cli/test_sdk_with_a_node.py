"""The client against a real node in a process of its own."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from memql.client import Client, Code, MemqlError, Reconnect, connect
from memql.client.sync import connect as connect_sync
from memql.graph.embedded import EmbeddedServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["grpc", "websocket"])
def address(request: pytest.FixtureRequest, up: Any) -> str:
    return up.grpc if request.param == "grpc" else f"ws://{up.http}"


async def create_jobs(client: Client, customer: str, count: int) -> list[str]:
    """Create jobs with priorities from 1 to 5 and give their titles."""
    titles = [f"{customer} {number:04}" for number in range(count)]
    for number, title in enumerate(titles):
        await client.query("mutationCreateJob", customerId=customer, title=title, priority=number % 5 + 1)
    return titles


async def test_a_named_call_round_trips_its_arguments(address: str) -> None:
    title = 'quotes " and \\ and ünïcödé'
    async with connect(address) as client:
        written = await client.query("mutationCreateJob", customerId="trips", title=title, priority=2)
        assert written.single().int("payload.priority") == 2
        assert written.meta.server_id == written.single()["id"]
        rows = (await client.query("queryJobs", customerId="trips")).rows
    assert [row.str("title") for row in rows] == [title]


async def test_a_refused_call_names_its_code(address: str) -> None:
    async with connect(address) as client:
        with pytest.raises(MemqlError) as unknown:
            await client.query("queryJobz")
        with pytest.raises(MemqlError) as missing:
            await client.query("queryJobs")
        with pytest.raises(MemqlError) as syntax:
            await client.execute("concept == ")
    assert unknown.value.code is Code.UNKNOWN_FUNCTION
    assert missing.value.code is Code.INVALID_ARGUMENT
    assert syntax.value.code is Code.SYNTAX_ERROR
    assert syntax.value.position is not None


async def test_pages_give_every_row_once_while_rows_are_inserted_in_front(address: str) -> None:
    customer = f"pages{len(address)}"
    async with connect(address) as client:
        titles = await create_jobs(client, customer, 25)
        seen = []
        async for row in client.pages("queryJobs", page_size=7, customerId=customer):
            seen.append(row.str("title"))
            if len(seen) == 8:
                await client.query("mutationCreateJob", customerId=customer, title="in front", priority=1)
    assert sorted(seen) == titles


async def test_a_result_of_many_chunks_is_whole(address: str) -> None:
    async with connect(address) as client:
        for batch in range(3):
            rows = [{"day": f"{address}-{batch}-{number}", "jobIds": []} for number in range(10)]
            async with anyio.create_task_group() as group:
                for row in rows:
                    group.start_soon(client.execute, 'insert("v1:ops:route", payload=$row)', {"row": row})
        found = await client.execute("concept==v1:ops:route;payload.day startsWith $prefix", {"prefix": address})
    assert len({row.str("payload.day") for row in found.rows}) == 30


async def test_the_caller_and_the_tree_can_be_looked_at(address: str) -> None:
    async with connect(address) as client:
        access = await client.my_access()
        concepts = {concept.id for concept in await client.concepts()}
    assert access.role == "owner"
    assert "v1:ops:job" in concepts


async def test_many_tasks_share_one_stream(address: str) -> None:
    results: list[int] = []
    async with connect(address) as client:

        async def ask(number: int) -> None:
            result = await client.execute("concept==v1:ops:job;payload.title==$t", {"t": f"no such {number}"})
            results.append(len(result))

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(ask, number)
    assert results == [0] * 200


async def test_events_reach_a_subscription_in_order(address: str) -> None:
    async with connect(address) as client, client.subscribe("v1:ops:job", ["created"]) as events:
        titles = await create_jobs(client, f"events{len(address)}", 10)
        got = [await events.next(60) for _ in titles]
    assert [event.payload["payload"]["title"] for event in got] == titles
    assert [event.seq for event in got] == list(range(1, 11))
    assert not any(event.gap_before for event in got)


async def test_the_synchronous_client_works_without_a_loop(up: Any) -> None:
    def work() -> tuple[str, int]:
        with connect_sync(up.grpc) as client:
            client.query("mutationCreateJob", customerId="sync", title="One")
            return client.my_access().role, len(list(client.pages("queryJobs", customerId="sync")))

    assert await anyio.to_thread.run_sync(work) == ("owner", 1)


async def test_a_generated_module_calls_the_tree(up: Any, at_node: Any, ops_tree: str, tmp_path: Path) -> None:
    path = tmp_path / "generated_ops.py"
    assert at_node("sdk-gen", ops_tree, "--out", str(path)).code == 0
    spec = importlib.util.spec_from_file_location("generated_ops", path)
    assert spec is not None
    assert spec.loader is not None
    ops = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = ops
    spec.loader.exec_module(ops)
    async with connect(up.grpc) as client:
        job = await ops.mutation_create_job(client, customer_id="sdk", title="Typed", priority=4)
        (card,) = await ops.query_jobs(client, customer_id="sdk", status="open")
        assert await ops.mutation_drop_job(client, job_id=job.id) == job.id
        assert await ops.query_jobs(client, customer_id="sdk") == []
    assert (job.title, job.priority, job.active) == ("Typed", 4, True)
    assert card == ops.JobCard(id=job.id, title="Typed", status="open", priority=4)


async def test_a_client_survives_the_restart_of_its_node_and_misses_nothing(
    postgres: EmbeddedServer, tmp_path: Path, start_up: Any, ops_tree: str
) -> None:
    name = f"memql_restart_{tmp_path.name[-20:]}".replace("-", "_").lower()
    port = _free_port()
    options = ("--tree", ops_tree, "--grpc", f"127.0.0.1:{port}")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        dsn = postgres.dsn_of(name)
        first = await anyio.to_thread.run_sync(start_up, tmp_path / "one", dsn, *options)
        reconnect = Reconnect(initial=0.05, maximum=0.2)
        async with (
            connect(f"127.0.0.1:{port}", reconnect=reconnect, timeout=60) as client,
            client.subscribe("v1:ops:job", ["created"]) as events,
            client.subscribe("v1:ops:visit") as quiet,
        ):
            await create_jobs(client, "before", 1)
            assert (await events.next(60)).payload["payload"]["title"] == "before 0000"
            await anyio.to_thread.run_sync(first.kill)
            second = await anyio.to_thread.run_sync(start_up, tmp_path / "two", dsn, *options)
            visit = {"jobId": "j1", "kind": "repair", "detail": {"minutes": 5}}
            async with connect(f"127.0.0.1:{port}") as other:
                await other.execute('insert("v1:ops:visit", id="v1", payload=$visit)', {"visit": visit})
            titles = await create_jobs(client, "after", 3)
            got = [(await events.next(60)).payload["payload"]["title"] for _ in titles]
            assert got == titles
            assert (await quiet.next(60)).payload["nodeId"] == "v1:ops:visit:v1"
        await anyio.to_thread.run_sync(second.stop)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
