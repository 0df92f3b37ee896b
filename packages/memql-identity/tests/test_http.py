"""The HTTP surface of an identity node on real sockets: well-known documents, headers, CORS, failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import Authority
from identity_system import BASE, Identity, identity_node, seed_text

from memql.auth.keys import read_key_set
from memql.config import Settings
from memql.server.tls import http_client_context

pytestmark = pytest.mark.anyio
APP = "https://app.example.com"


@pytest.fixture
async def identity(dsn: str, tmp_path: Path) -> AsyncIterator[Identity]:
    async with identity_node(dsn, tmp_path, {"IDENTITY_CORS_ALLOWED_ORIGINS": APP}) as running:
        yield running


async def preflight(identity: Identity, path: str, origin: str) -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with aiohttp.ClientSession() as http, http.options(identity.http + path, headers=asked) as response:
        return response.status, response.headers


async def test_the_public_keys_are_published_for_anybody(identity: Identity) -> None:
    status, headers, body = await identity.get("/.well-known/jwks.json", Origin="https://anywhere.test")
    assert (status, headers["Cache-Control"], headers["Access-Control-Allow-Origin"]) == (
        200,
        "public, max-age=300",
        "*",
    )
    assert headers["Content-Type"] == "application/json"
    assert list(read_key_set(body)) == [identity.ring.current.kid]
    assert body["keys"][0] == identity.ring.current.public.to_jwk()


async def test_command_lines_find_their_way(dsn: str, tmp_path: Path) -> None:
    clients = (
        '[{"clientId": "web", "redirectURIs": []}, {"clientId": "memql-cli", "redirectURIs": ["http://127.0.0.1/"]}]'
    )
    async with identity_node(dsn, tmp_path, {"IDENTITY_REGISTERED_CLIENTS": clients}) as identity:
        _, _, body = await identity.get("/.well-known/memql-config.json")
        assert body == {
            "issuer": BASE,
            "jwksUri": f"{BASE}/.well-known/jwks.json",
            "grpcEndpoint": f"grpc://identity.localhost:{identity.settings.grpc_address.port}",
            "clientId": "memql-cli",
        }


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/readyz", "/nowhere", "/memql/query"])
async def test_every_answer_has_the_security_headers(identity: Identity, path: str) -> None:
    _, headers, _ = await identity.get(path)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert "Permissions-Policy" in headers
    assert "Strict-Transport-Security" not in headers


async def test_over_tls_browsers_are_told_to_stay_there(dsn: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("identity")
    given = {"MEMQL_HTTP_TLS_CERT_FILE": str(pair.certificate), "MEMQL_HTTP_TLS_KEY_FILE": str(pair.key)}
    context = http_client_context(Settings.model_validate({"http_tls_ca_file": authority.file}))
    async with identity_node(dsn, tmp_path, given) as identity, aiohttp.ClientSession() as http:
        address = f"https://localhost:{identity.node.server.http_address.port}/.well-known/jwks.json"
        async with http.get(address, ssl=context) as response:
            assert response.headers["Strict-Transport-Security"].startswith("max-age=")


async def test_registered_origins_may_call_with_credentials_and_no_others(identity: Identity) -> None:
    status, headers = await preflight(identity, "/node/bootstrap", APP)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, APP)
    assert headers["Access-Control-Allow-Credentials"] == "true"
    for stranger in ("https://evil.example.com", "http://localhost:3000", f"{APP}.evil.com", "null"):
        status, headers = await preflight(identity, "/node/bootstrap", stranger)
        assert "Access-Control-Allow-Origin" not in headers, stranger


async def test_what_anybody_may_read_is_never_read_with_credentials(identity: Identity) -> None:
    _, headers, _ = await identity.get("/.well-known/jwks.json", Origin=APP)
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers


async def test_failures_have_their_shape(identity: Identity) -> None:
    status, body = await identity.bootstrap("", {})
    assert (status, body["error"]) == (401, "invalid_bootstrap_secret")
    assert body["errorId"].startswith("ERR-")
    assert body["message"]


async def test_replicas_with_one_seed_publish_one_document(dsn: str, tmp_path: Path) -> None:
    seed = {"IDENTITY_SIGNING_KEY_B64": seed_text()}
    async with (
        identity_node(dsn, tmp_path / "one", {**seed, "MEMQL_NODE_ID": "one"}) as one,
        identity_node(dsn, tmp_path / "two", {**seed, "MEMQL_NODE_ID": "two"}) as two,
    ):
        first, second = [(await replica.get("/.well-known/jwks.json"))[2] for replica in (one, two)]
        assert first == second
        assert one.ring.current.kid == two.ring.current.kid
