"""Streams between nodes over TLS, with and without certificates of clients."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from certificates import Authority, Pair
from mesh_nodes import connected, member, until
from trusted_mesh import calling, hello

from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio


def secured(authority: Authority, pair: Pair) -> dict[str, str]:
    """The variables of a node that speaks mTLS."""
    return {
        "MEMQL_GRPC_TLS_CERT_FILE": str(pair.certificate),
        "MEMQL_GRPC_TLS_KEY_FILE": str(pair.key),
        "MEMQL_GRPC_TLS_CA_FILE": str(authority.file),
        "MEMQL_GRPC_MTLS": "true",
    }


async def test_nodes_connect_over_mtls_and_strangers_do_not(dsn: str, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    settings = secured(authority, authority.issue("node"))
    async with (
        member(dsn, "bff", "bff-1", tmp_path, settings=settings) as bff,
        member(dsn, "agent", "agent-1", tmp_path, settings=settings) as agent,
    ):
        await connected(bff, agent)
        await until(lambda: bff.mesh.switchboard.dialed("agent-1"))
        stranger = other.issue("stranger")
        shown: dict[str, grpc.ChannelCredentials | None] = {
            "plaintext": None,
            "no certificate": grpc.ssl_channel_credentials(authority.file.read_bytes()),
            "another authority's": grpc.ssl_channel_credentials(
                authority.file.read_bytes(), stranger.key.read_bytes(), stranger.certificate.read_bytes()
            ),
        }
        for credentials in shown.values():
            async with calling(agent.mesh.address, "", credentials) as caller:
                assert await caller.outcome(hello()) is grpc.StatusCode.UNAVAILABLE
        own = authority.issue("peer")
        trusted = grpc.ssl_channel_credentials(
            authority.file.read_bytes(), own.key.read_bytes(), own.certificate.read_bytes()
        )
        async with calling(agent.mesh.address, "", trusted) as caller:
            assert await caller.outcome(hello("bff-9")) == "node_welcome"


async def test_a_seed_is_known_by_its_name_whatever_address_it_has(dsn: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    settings = secured(authority, authority.issue("named", host="localhost", addresses=()))
    async with member(dsn, "agent", "agent-1", tmp_path, settings=settings) as agent:
        port = agent.mesh.address.rpartition(":")[2]
        seeds = {"MEMQL_WORKER_PEERS": f"agent=localhost:{port}", "MEMQL_NODE_ADDRESS": "127.0.0.1:1"}
        async with member(dsn, "bff", "bff-1", tmp_path, settings={**settings, **seeds}) as bff:
            await until(lambda: bff.mesh.switchboard.dialed("agent-1"))


async def test_a_key_that_others_can_read_is_refused(dsn: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("node")
    pair.key.chmod(0o640)
    with pytest.raises(MemqlError) as refused:
        async with member(dsn, "agent", "agent-1", tmp_path, settings=secured(authority, pair)):
            pass
    assert refused.value.code is Code.CONFIG_INVALID
    assert "chmod 600" in refused.value.message
