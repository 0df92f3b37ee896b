"""The HTTP endpoints: one query, health, readiness, metrics, origins."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import pytest
from aiohttp import ClientSession
from server_system import Node, Serve

from memql.engine.result import Result
from memql.errors import Code, MemqlError
from memql.graph.migrator import packaged_head
from memql.server.no_auth import LocalOwner
from memql.server.ports import Credentials, Principal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def post(http: ClientSession, node: Node, body: Any, **headers: str) -> tuple[int, Any]:
    kind = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
    async with http.post(f"{node.url}/memql/query", headers=headers, **kind) as response:
        return response.status, await response.json()


async def get(http: ClientSession, node: Node, path: str) -> tuple[int, Any]:
    async with http.get(f"{node.url}{path}") as response:
        return response.status, await response.json()


async def test_a_query_is_answered_with_its_result(http: ClientSession, node: Node) -> None:
    status, body = await post(http, node, {"query": "rows 2", "variables": {"x": 1}, "clientId": "c"})
    assert status == 200
    assert [row["n"] for row in body["result"]["data"]] == [0, 1]
    assert body["result"]["meta"] == {"count": 2, "took": 0, "clientId": "c", "serverId": "node-1"}
    assert "errors" not in body


async def test_a_query_that_fails_is_a_success_with_errors(http: ClientSession, node: Node) -> None:
    async def fail() -> Result:
        raise MemqlError(Code.FORBIDDEN, "not yours")

    node.engine.answers["x"] = fail
    status, body = await post(http, node, {"query": "x"})
    assert status == 200
    (error,) = body["errors"]
    assert (error["code"], error["message"]) == ("PermissionDenied", "not yours")
    assert error["metadata"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("code", "expected"), [(Code.UNAVAILABLE, 503), (Code.TIMEOUT, 504), (Code.FAILED_PRECONDITION, 503)]
)
async def test_a_node_that_cannot_answer_says_so_in_the_status(
    http: ClientSession, node: Node, code: Code, expected: int
) -> None:
    async def fail() -> Result:
        raise MemqlError(code, "no")

    node.engine.answers["x"] = fail
    assert await post(http, node, {"query": "x"}) == (expected, {"error": "no", "code": code.value})


async def test_an_unexpected_failure_shows_an_id_and_no_detail(http: ClientSession, node: Node) -> None:
    async def fail() -> Result:
        raise RuntimeError("secret detail")

    node.engine.answers["x"] = fail
    status, body = await post(http, node, {"query": "x"})
    assert status == 500
    assert body["errorId"].startswith("ERR-")
    assert "secret detail" not in str(body)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"query":1}', b'{"variables":3}'])
async def test_a_body_that_is_no_query_is_refused(http: ClientSession, node: Node, body: bytes) -> None:
    status, answer = await post(http, node, body)
    assert (status, answer["code"]) == (400, "INVALID_ARGUMENT")


async def test_a_body_that_is_too_long_is_refused(http: ClientSession, node: Node) -> None:
    status, answer = await post(http, node, b'{"query":"' + b"x" * (5 * 1024 * 1024) + b'"}')
    assert status == 413
    assert answer["error"]


async def test_only_exactly_this_path_and_method_exist(http: ClientSession, node: Node) -> None:
    assert (await get(http, node, "/memql/query"))[0] == 405
    assert (await get(http, node, "/memql/query/x"))[0] == 404
    assert (await get(http, node, "/nothing"))[1]["code"] == "NOT_FOUND"


async def test_no_identity_is_refused(http: ClientSession, serve: Serve) -> None:
    class Nobody:
        async def authenticate(self, credentials: Credentials) -> Principal:
            raise MemqlError(Code.UNAUTHENTICATED, f"no credential in {credentials.authorization!r}")

    async with serve(authenticator=Nobody()) as node:
        assert (await post(http, node, {"query": "rows 1"}))[0] == 401


async def test_a_foreign_page_may_not_query_and_a_local_one_may(http: ClientSession, node: Node) -> None:
    assert (await post(http, node, {"query": "rows 0"}, Origin="https://evil.test"))[0] == 403
    origin = "http://localhost:3000"
    async with http.post(f"{node.url}/memql/query", json={"query": "rows 0"}, headers={"Origin": origin}) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == origin
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with http.options(f"{node.url}/memql/query", headers=asked) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]


async def test_without_identity_only_this_machines_names_are_served(http: ClientSession, serve: Serve) -> None:
    async with serve(authenticator=LocalOwner()) as node:
        assert (await post(http, node, {"query": "rows 0"}, Host="rebound.evil.test"))[0] == 403
        assert (await post(http, node, {"query": "rows 0"}))[0] == 200


async def test_health_tells_about_the_node(http: ClientSession, node: Node) -> None:
    node.server.health.components["database"] = True
    status, body = await get(http, node, "/healthz")
    assert status == 200
    assert body == {
        "status": "ok",
        "nodeId": "node-1",
        "nodeType": "bff",
        "flavor": "",
        "grpcAddress": str(node.server.grpc_address),
        "activeStreams": 0,
        "dependencies": [{"component": "database", "running": True}],
        "version": version("memql-core"),
    }
    node.server.health.components["database"] = False
    status, body = await get(http, node, "/healthz")
    assert (status, body["status"]) == (503, "degraded")
    assert await get(http, node, "/livez") == (200, {"status": "alive"})


async def test_readiness_names_what_is_missing(http: ClientSession, node: Node) -> None:
    node.engine.checks[1] = ("schema_version", False)
    status, body = await get(http, node, "/readyz")
    assert (status, body["status"]) == (503, "not_ready")
    assert body["missing"] == ["schema_version"]
    assert {"name": "schema_version", "ready": False, "code": "FAILED_PRECONDITION"} in body["checks"]


async def test_a_database_that_does_not_answer_is_told_by_its_code_alone(http: ClientSession, node: Node) -> None:
    node.engine.unreachable = MemqlError(Code.UNAVAILABLE, "connection to postgres://user@host failed")
    status, body = await get(http, node, "/readyz")
    assert (status, body["status"], body["missing"]) == (503, "not_ready", ["database"])
    assert {"name": "database", "ready": False, "code": "UNAVAILABLE"} in body["checks"]
    assert "postgres" not in str(body)


async def test_readiness_of_a_ready_node(http: ClientSession, node: Node) -> None:
    status, body = await get(http, node, "/readyz")
    assert (status, body["status"]) == (200, "ready")
    assert body["schemaVersion"] == packaged_head()
    assert body["checks"] == [{"name": name, "ready": True} for name in ("lifecycle", "memory_nodes", "schema_version")]
    assert "missing" not in body


async def test_a_node_that_is_not_through_starting_is_not_ready(http: ClientSession, node: Node) -> None:
    node.server.health.started = False
    status, body = await get(http, node, "/readyz")
    assert (status, body["status"], body["missing"]) == (503, "not_ready", ["lifecycle"])


async def test_metrics_are_served_with_http_unless_they_have_an_address(http: ClientSession, serve: Serve) -> None:
    async with serve() as node, node.connect() as wire:
        await wire.query("rows 0")
        await wire.receive("query_result")
        async with http.get(f"{node.url}/metrics") as response:
            text = await response.text()
        assert "memql_active_streams 1.0" in text
        assert 'memql_request_seconds_count{outcome="ok",payload="execute_query"}' in text
    async with serve(metrics_address="127.0.0.1:0") as node, http.get(f"{node.url}/metrics") as response:
        assert response.status == 404
