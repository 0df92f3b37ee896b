"""A whole node over a real database: opening, serving, reloading, roles, stopping."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from aiohttp import ClientSession, web

from memql.config import Settings
from memql.config.loading import load_settings
from memql.engine.context import RequestContext
from memql.errors import Code, MemqlError
from memql.node import Component, Node, Role, State, open_node
from memql.server.ports import Services

pytestmark = pytest.mark.anyio

CONCEPTS = """
@rowAuthz(public)
concept note {
  title string!
FIELDS
}
"""
QUERIES = """
use notes.concepts.{ note }

@enabled @public
query note queryNotes {
  sort "payload.title", "asc"
}
"""
BUILTINS = """
@enabled @public @executor("test.greet")
builtin greet {
  name string!
}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    write_tree(root)
    return root


def write_tree(root: Path, fields: str = "", **files: str) -> None:
    folder = root / "notes"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"concepts": CONCEPTS.replace("FIELDS", fields), "queries": QUERIES, **files}
    for name, text in texts.items():
        (folder / f"{name}.memql").write_text(text)


@pytest.fixture
def settings(dsn: str, tree: Path, tmp_path: Path) -> Settings:
    return load_settings(environ(dsn, tree, tmp_path))


def environ(dsn: str, tree: Path, home: Path) -> dict[str, str]:
    return {
        "MEMQL_ENVIRONMENT": "development",
        "MEMQL_HOME": str(home),
        "MEMQL_DATABASE_DSN": dsn,
        "MEMQL_DSL_PATH": str(tree),
        "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
        "SERVER_ADDRESS": "127.0.0.1:0",
        "MEMQL_NODE_SERVICE_ADDRESS": "127.0.0.1:0",
        "MEMQL_NODE_ID": "node-a",
    }


async def ask(node: Node, query: str, **variables: Any) -> Any:
    body = {"query": query, "variables": variables}
    address = f"http://{node.server.http_address}/memql/query"
    async with ClientSession() as http, http.post(address, json=body) as response:
        assert response.status == 200
        return await response.json()


def titles(answer: Any) -> list[str]:
    nodes = answer["result"].get("bundle", {}).get("nodes", [])
    return [node["payload"]["title"] for node in nodes]


async def get(node: Node, path: str) -> tuple[int, Any]:
    async with ClientSession() as http, http.get(f"http://{node.server.http_address}{path}") as response:
        return response.status, await response.json()


async def test_an_open_node_serves_its_tree(settings: Settings) -> None:
    async with open_node(settings) as node:
        assert (node.lifecycle.state, node.identity.id, node.identity.type) == (State.READY, "node-a", "bff")
        written = await ask(node, 'insert("v1:notes:note", payload={title: "hello"})')
        assert "errors" not in written
        assert titles(await ask(node, "queryNotes({})")) == ["hello"]
        status, ready = await get(node, "/readyz")
        assert (status, ready["status"]) == (200, "ready")
        status, health = await get(node, "/healthz")
        assert (status, health["nodeId"]) == (200, "node-a")
        assert {part["component"] for part in health["dependencies"]} >= {"database", "automations", "server"}
    assert node.lifecycle.state is State.STOPPED


async def test_two_nodes_share_a_database(settings: Settings) -> None:
    second = settings.model_copy(update={"node_id": "node-b"})
    async with open_node(settings) as one, open_node(second) as other:
        await ask(one, 'insert("v1:notes:note", payload={title: "hello"})')
        assert titles(await ask(other, "queryNotes({})")) == ["hello"]


async def test_a_refused_tree_keeps_the_node_from_starting(settings: Settings, tree: Path) -> None:
    write_tree(tree, "  broken nosuchtype")
    with pytest.raises(MemqlError) as error:
        async with open_node(settings):
            raise AssertionError
    assert error.value.code is Code.TREE_REFUSED


async def test_a_database_that_cannot_be_reached_is_named_as_one_error(settings: Settings, tmp_path: Path) -> None:
    nowhere = f"host={tmp_path} dbname=x connect_timeout=1"
    unreachable = settings.model_copy(update={"database_dsn": nowhere, "database_patience": 0.2})
    with pytest.raises(MemqlError) as error:
        async with open_node(unreachable):
            raise AssertionError
    assert error.value.code is Code.UNAVAILABLE


async def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    async with open_node(settings) as node:
        taken = settings.model_copy(update={"http_address": node.server.http_address, "node_id": "node-b"})
        with pytest.raises(MemqlError, match="SERVER_ADDRESS") as error:
            async with open_node(taken):
                raise AssertionError
    assert error.value.code is Code.CONFIG_INVALID


async def test_a_reload_serves_the_new_tree_and_a_refused_one_keeps_the_old(settings: Settings, tree: Path) -> None:
    async with open_node(settings) as node:
        assert not await node.reload()
        write_tree(tree, "  mood string @index")
        assert await node.reload()
        written = await ask(node, 'insert("v1:notes:note", payload={title: "x", mood: "good"})')
        assert "errors" not in written
        write_tree(tree, "  broken nosuchtype")
        with pytest.raises(MemqlError) as error:
            await node.reload()
        assert error.value.code is Code.TREE_REFUSED
        assert titles(await ask(node, "queryNotes({})")) == ["x"]


class Greeter(Role):
    """A role with one of everything."""

    name = "greeter"
    port = 50099

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.stopped = anyio.Event()

    def executors(self, services: Services) -> Mapping[str, Any]:
        async def greet(args: Mapping[str, Any], ctx: RequestContext) -> Any:
            return f"hello {args['name']}"

        return {"test.greet": greet}

    def http_routes(self, services: Services) -> Iterable[web.AbstractRouteDef]:
        async def whoami(request: web.Request) -> web.Response:
            return web.json_response({"node": services.identity.type})

        return [web.get("/greeter/whoami", whoami)]

    def components(self, services: Services) -> Iterable[Component]:
        async def loop() -> None:
            self.started.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.stopped.set()

        return [Component("greeter", loop)]


async def test_a_role_adds_executors_routes_and_loops(settings: Settings, tree: Path) -> None:
    write_tree(tree, builtins=BUILTINS)
    role = Greeter()
    async with open_node(settings, roles=[role]) as node:
        assert node.identity.type == "greeter"
        assert (await get(node, "/greeter/whoami"))[1] == {"node": "greeter"}
        assert (await ask(node, 'greet({name: "you"})'))["result"]["data"] == ["hello you"]
        with anyio.fail_after(30):
            await role.started.wait()
        assert not role.stopped.is_set()
    assert role.stopped.is_set()


AUTOMATIONS = """
use notes.builtins.{ greet }
use notes.concepts.{ note }

@enabled @trigger(event="node.created", concept="v1:notes:note")
automation welcome { step greet { builtin greet { name: event.payload.title } } }
"""


class Plain(Greeter):
    """The same without the executor."""

    name = "plain"

    def executors(self, services: Services) -> Mapping[str, Any]:
        return {}


async def test_an_automation_runs_where_the_role_brings_its_executor_and_only_there(
    settings: Settings, tree: Path
) -> None:
    write_tree(tree, builtins=BUILTINS, automations=AUTOMATIONS)
    runs = "SELECT split_part(claimed_by, '/', 1), outcome FROM automation_execution_claims"
    async with open_node(settings, roles=[Greeter()]):
        pass
    async with open_node(settings, roles=[Plain()]) as node:
        await ask(node, 'insert("v1:notes:note", payload={title: "hello"})')
        await anyio.sleep(0.2)
        assert await node.database.fetch(runs) == []
    async with open_node(settings, roles=[Greeter()]) as node:
        with anyio.fail_after(30):
            while await node.database.fetch(runs) != [("node-a", "completed")]:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        consumers = await node.database.fetch("SELECT DISTINCT consumer_id FROM mesh_cursors ORDER BY 1")
    assert consumers == [("role:greeter",), ("role:plain",)]


async def test_a_loop_that_dies_takes_the_node_down(settings: Settings) -> None:
    class Broken(Greeter):
        def components(self, services: Services) -> Iterable[Component]:
            async def loop() -> None:
                raise MemqlError(Code.INTERNAL, "the loop broke")

            return [Component("broken", loop)]

    with pytest.raises(MemqlError, match="the loop broke"):
        async with open_node(settings, roles=[Broken()]):
            await anyio.sleep(10)


async def test_a_loop_that_finds_the_database_away_begins_again(settings: Settings) -> None:
    again = anyio.Event()

    class Unlucky(Greeter):
        def components(self, services: Services) -> Iterable[Component]:
            lives = iter((MemqlError(Code.UNAVAILABLE, "away"), MemqlError(Code.TIMEOUT, "slow")))

            async def loop() -> None:
                for away in lives:
                    raise away
                again.set()
                await anyio.sleep_forever()

            return [Component("unlucky", loop)]

    async with open_node(settings, roles=[Unlucky()]):
        with anyio.fail_after(20):
            await again.wait()


PROGRAM = """
import sys, anyio
from memql.cli.logs import configure_logging
from memql.config.loading import load_settings
from memql.node import run_node
async def ready(node):
    print("ready", node.server.http_address, flush=True)
async def main():
    settings = load_settings()
    configure_logging(settings)
    await run_node(settings, ready=ready)
    print("stopped", flush=True)
anyio.run(main)
"""


@asynccontextmanager
async def child(environment: dict[str, str]) -> AsyncIterator[tuple[anyio.abc.Process, Any]]:
    variables = {**os.environ, **environment}
    async with await anyio.open_process([sys.executable, "-c", PROGRAM], env=variables, stderr=None) as process:
        assert process.stdout is not None
        lines = _lines(process.stdout)
        try:
            with anyio.fail_after(30):
                word, _, address = (await anext(lines)).partition(" ")
            assert word == "ready"
            yield process, (address, lines)
        finally:
            await lines.aclose()
            if process.returncode is None:
                process.kill()


async def _lines(stream: anyio.abc.ByteReceiveStream) -> AsyncGenerator[str, None]:
    pending = b""
    async for data in stream:
        pending += data
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            yield line.decode()


async def test_a_signal_drains_and_exits_cleanly(dsn: str, tree: Path, tmp_path: Path) -> None:
    async with child(environ(dsn, tree, tmp_path)) as (process, (address, lines)):
        async with ClientSession() as http, http.ws_connect(f"http://{address}/memql/ws") as socket:
            await socket.receive()
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(30):
                while not socket.closed:
                    await socket.receive()
                assert socket.close_code == 1001
        with anyio.fail_after(30):
            assert "stopped" in [line async for line in lines]
            assert await process.wait() == 0


async def test_a_second_signal_stops_at_once(dsn: str, tree: Path, tmp_path: Path) -> None:
    slow = {**environ(dsn, tree, tmp_path), "MEMQL_SHUTDOWN_DRAIN_DELAY": "60s"}
    async with child(slow) as (process, (address, _)):
        async with ClientSession() as http:
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(30):
                while (await http.get(f"http://{address}/healthz")).status != 503:  # noqa: ASYNC110  another process
                    await anyio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(30):
            assert await process.wait() == 0


async def test_sighup_reads_the_tree_again(dsn: str, tree: Path, tmp_path: Path) -> None:
    async with child(environ(dsn, tree, tmp_path)) as (process, (address, _)), ClientSession() as http:
        write_tree(tree, "  mood string")
        process.send_signal(signal.SIGHUP)
        body = {"query": 'insert("v1:notes:note", payload={title: "x", mood: "good"})'}
        with anyio.fail_after(30):
            while "errors" in await (await http.post(f"http://{address}/memql/query", json=body)).json():  # noqa: ASYNC110
                await anyio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(30):
            assert await process.wait() == 0
