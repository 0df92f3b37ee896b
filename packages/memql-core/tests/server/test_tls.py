"""TLS with certificates made for the test: both listeners, both directions, and files that must not be used."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import grpc
import grpc.aio
import pytest
from certificates import Authority, Pair
from issuer_system import Signer, serving_jwks
from server_system import Node, Serve, Wire

from memql.client import connect
from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.server.grpc_service import SERVICE
from memql.server.tls import (
    channel_credentials,
    http_client_context,
    http_server_context,
    node_service_credentials,
    server_credentials,
)
from memql.wire.messages import ClientHello

pytestmark = pytest.mark.anyio


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def node_pair(authority: Authority) -> Pair:
    return authority.issue("node")


def grpc_tls(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"grpc_tls_cert_file": pair.certificate, "grpc_tls_key_file": pair.key, **more}


def http_tls(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"http_tls_cert_file": pair.certificate, "http_tls_key_file": pair.key, **more}


def settings(**members: Any) -> Settings:
    return Settings.model_validate(members)


async def says_hello(node: Node, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a stream can be opened with these credentials; None is plaintext."""
    target = f"localhost:{node.server.grpc_address.port}"
    channel = grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
    async with channel:
        wire = Wire(channel.stream_stream(f"/{SERVICE}/Stream")())
        try:
            with anyio.fail_after(10):
                await wire.send(ClientHello())
                await wire.receive("server_hello")
        except (grpc.aio.AioRpcError, AssertionError):
            return False
        finally:
            wire.stream.cancel()
    return True


# --- gRPC -----------------------------------------------------------------------------------------------------------


async def test_grpc_speaks_tls_and_nothing_else(
    serve: Serve, authority: Authority, node_pair: Pair, tmp_path: Path
) -> None:
    async with serve(**grpc_tls(node_pair)) as node:
        assert await says_hello(node, channel_credentials(settings(grpc_tls_ca_file=authority.file)))
        assert not await says_hello(node, None)
        stranger = Authority(tmp_path / "other", "another authority")
        assert not await says_hello(node, channel_credentials(settings(grpc_tls_ca_file=stranger.file)))


async def test_the_client_connects_over_tls(serve: Serve, authority: Authority, node_pair: Pair) -> None:
    async with serve(**grpc_tls(node_pair)) as node:
        address = f"grpcs://localhost:{node.server.grpc_address.port}"
        async with connect(address, ca_file=authority.file) as client:
            assert client.server.node_id == "node-1"


async def test_with_mtls_only_certificates_of_the_authority_come_in(
    serve: Serve, authority: Authority, node_pair: Pair, tmp_path: Path
) -> None:
    peer = authority.issue("peer")
    stranger = Authority(tmp_path / "other", "another authority").issue("stranger")
    async with serve(**grpc_tls(node_pair, grpc_tls_ca_file=authority.file, grpc_mtls=True)) as node:
        known = settings(**grpc_tls(peer, grpc_tls_ca_file=authority.file))
        foreign = settings(**grpc_tls(stranger, grpc_tls_ca_file=authority.file))
        assert await says_hello(node, channel_credentials(known))
        assert not await says_hello(node, channel_credentials(foreign))
        assert not await says_hello(node, channel_credentials(settings(grpc_tls_ca_file=authority.file)))


def test_without_files_everything_is_plaintext() -> None:
    nothing = settings()
    assert server_credentials(nothing) is None
    assert channel_credentials(nothing) is None
    assert http_server_context(nothing) is None


# --- HTTP -----------------------------------------------------------------------------------------------------------


async def test_http_and_websocket_speak_tls(serve: Serve, authority: Authority, node_pair: Pair) -> None:
    context = http_client_context(settings(http_tls_ca_file=authority.file))
    async with serve(**http_tls(node_pair)) as node, aiohttp.ClientSession() as http:
        base = f"localhost:{node.server.http_address.port}"
        async with http.post(f"https://{base}/memql/query", json={"query": "rows 1"}, ssl=context) as response:
            assert response.status == 200
        async with http.ws_connect(f"wss://{base}/memql/ws", ssl=context) as bridge:
            assert "serverHello" in await bridge.receive_json(timeout=30)
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://{base}/livez")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"https://{base}/livez")


async def test_the_client_connects_over_a_secure_websocket(serve: Serve, authority: Authority, node_pair: Pair) -> None:
    async with serve(**http_tls(node_pair)) as node:
        address = f"wss://localhost:{node.server.http_address.port}"
        async with connect(address, ca_file=authority.file) as client:
            assert client.server.node_id == "node-1"


async def test_metrics_with_an_address_of_their_own_stay_plain(serve: Serve, node_pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with (
        serve(**http_tls(node_pair, metrics_address=address)),
        aiohttp.ClientSession() as http,
        http.get(f"http://{address}/metrics") as response,
    ):
        assert "memql_active_streams" in await response.text()


async def test_public_keys_are_fetched_over_tls_from_a_server_that_the_authority_vouches_for(
    authority: Authority, node_pair: Pair, tmp_path: Path
) -> None:
    from memql.auth.jwks import JwksCache

    signer = Signer()
    context = http_server_context(settings(**http_tls(node_pair)))
    async with serving_jwks(signer.public, tls=context) as server:
        for variable, trusts in (("http_tls_ca_file", True), ("identity_verifier_ca_file", True), ("", False)):
            given = {variable: authority.file} if variable else {}
            cache = JwksCache(server.url, tls=http_client_context(settings(**given)), retry=0.02)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cache.run)
                with anyio.move_on_after(10 if trusts else 0.5):
                    while not cache.ready:  # noqa: ASYNC110  fetched in the background
                        await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            assert cache.ready is trusts, variable


# --- files ----------------------------------------------------------------------------------------------------------


def refused(work: Any, **members: Any) -> str:
    with pytest.raises(MemqlError) as error:
        work(settings(**members))
    assert error.value.code is Code.CONFIG_INVALID
    return error.value.message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_private_key_that_others_can_touch_is_refused(node_pair: Pair, mode: int) -> None:
    node_pair.key.chmod(mode)
    message = refused(server_credentials, **grpc_tls(node_pair))
    assert "MEMQL_GRPC_TLS_KEY_FILE" in message
    assert "chmod 600" in message
    assert "MEMQL_HTTP_TLS_KEY_FILE" in refused(http_server_context, **http_tls(node_pair))
    assert "chmod 600" in refused(channel_credentials, **grpc_tls(node_pair))


def test_a_certificate_without_its_key_is_refused(node_pair: Pair) -> None:
    assert "together" in refused(server_credentials, grpc_tls_cert_file=node_pair.certificate)
    assert "together" in refused(http_server_context, http_tls_key_file=node_pair.key)


def test_a_key_that_is_another_ones_is_refused(authority: Authority, node_pair: Pair) -> None:
    other = authority.issue("other")
    mixed = Pair(node_pair.certificate, other.key)
    assert "no pair" in refused(http_server_context, **http_tls(mixed))


def test_files_that_are_not_there_or_hold_nothing_are_named(tmp_path: Path, node_pair: Pair) -> None:
    missing = tmp_path / "missing.pem"
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    assert "MEMQL_GRPC_TLS_CERT_FILE" in refused(
        server_credentials, grpc_tls_cert_file=missing, grpc_tls_key_file=node_pair.key
    )
    assert "MEMQL_GRPC_TLS_CA_FILE" in refused(channel_credentials, grpc_tls_ca_file=missing)
    assert "MEMQL_HTTP_TLS_CA_FILE" in refused(http_client_context, http_tls_ca_file=missing)
    assert "IDENTITY_VERIFIER_CA_FILE" in refused(http_client_context, identity_verifier_ca_file=empty)


def test_mtls_needs_certificates_and_an_authority(node_pair: Pair) -> None:
    assert "MEMQL_GRPC_TLS_CERT_FILE" in refused(server_credentials, grpc_mtls=True)
    assert "MEMQL_GRPC_TLS_CA_FILE" in refused(server_credentials, **grpc_tls(node_pair, grpc_mtls=True))
    assert "MEMQL_NODE_SERVICE_MTLS needs" in refused(node_service_credentials, node_service_mtls=True)


def test_what_is_asked_of_nodes_follows_what_is_asked_of_clients_unless_it_is_set(node_pair: Pair) -> None:
    assert "MEMQL_GRPC_MTLS needs" in refused(node_service_credentials, grpc_mtls=True)
    assert node_service_credentials(settings(grpc_mtls=True, node_service_mtls=False)) is None
    assert server_credentials(settings(node_service_mtls=True)) is None


async def test_a_node_with_an_open_key_does_not_start(serve: Serve, node_pair: Pair) -> None:
    os.chmod(node_pair.key, 0o644)  # noqa: PTH101
    for given in (grpc_tls(node_pair), http_tls(node_pair)):
        with pytest.raises(MemqlError, match="open to group or others"):
            async with serve(**given):
                raise AssertionError
