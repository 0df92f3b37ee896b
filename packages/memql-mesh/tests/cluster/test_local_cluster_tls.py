"""A cluster with TLS, two identity nodes, and the embedded database of its home."""

from __future__ import annotations

import json
import ssl
import stat
import urllib.request
from collections.abc import Iterator
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from local_cluster import Terminal, is_gone, reachable_home, terminal

from memql.client import connect
from memql.errors import Code, MemqlError
from memql.mesh.wire.envelopes import SERVICE

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

UP = ("up", "--detach", "--free-ports", "--tls", "--only", "bff,agent", "--replicas", "identity=2")


@pytest.fixture(scope="module")
def here() -> Iterator[Terminal]:
    """A terminal beside a running cluster with TLS."""
    with reachable_home() as home, terminal(home) as opened:
        opened.cluster(*UP).require()
        yield opened


def fetched(here: Terminal, port: int, path: str) -> Any:
    """What a node answers over HTTPS to somebody who trusts the cluster's authority."""
    context = ssl.create_default_context(cafile=here.place.ca_file)
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=20) as answer:
        return json.loads(answer.read())


def test_every_node_is_ready_and_the_commands_of_this_machine_reach_them(here: Terminal) -> None:
    shown = here.cluster("status").require()
    assert "4 of 4 nodes are ready" in shown.err
    assert shown.err.rstrip().endswith(", TLS")
    assert here.rows("concepts()")
    assert here.rows("concepts()", "--server", "agent-1")
    assert json.loads(here.memql("si", "embed", "--json", "a heron").require().out)["dims"] == 256


def test_both_identity_nodes_publish_the_same_keys(here: Terminal) -> None:
    first, second = (fetched(here, here.node(f"identity-{n}").http, "/.well-known/jwks.json") for n in (1, 2))
    assert first == second
    assert len(first["keys"]) == 1


async def test_nobody_is_served_in_plaintext_or_trusted_without_the_authority(here: Terminal) -> None:
    server = here.server("bff-1")
    plain = server.address.replace("grpcs://", "grpc://")
    for address, ca_file in ((plain, None), (server.address, None)):
        with pytest.raises(MemqlError) as raised:
            async with connect(address, server.token, ca_file=ca_file, timeout=5):
                pass
        assert raised.value.code is Code.UNAVAILABLE


async def opens_a_stream(here: Terminal, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """How the NodeService of the agent ends a stream that shows no token."""
    async with grpc.aio.secure_channel(f"127.0.0.1:{here.node('agent-1').service}", credentials) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Stream")()
        with anyio.fail_after(20):
            return await call.code()


async def test_nodes_show_each_other_certificates_and_a_token_besides(here: Terminal) -> None:
    authority = here.place.ca_file.read_bytes()
    without = grpc.ssl_channel_credentials(authority)
    own = here.place.key("bff-1").read_bytes(), here.place.certificate("bff-1").read_bytes()
    shown = grpc.ssl_channel_credentials(authority, *own)
    assert await opens_a_stream(here, without) is grpc.StatusCode.UNAVAILABLE
    assert await opens_a_stream(here, shown) is grpc.StatusCode.UNAUTHENTICATED


def test_private_keys_are_for_their_owner_alone(here: Terminal) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in here.place.tls.glob("*.key")}
    assert modes == dict.fromkeys(["ca.key", "agent-1.key", "bff-1.key", "identity-1.key", "identity-2.key"], 0o600)
    assert stat.S_IMODE(here.place.tls.stat().st_mode) == 0o700


def test_a_key_or_a_secret_that_others_can_read_keeps_the_cluster_from_starting(here: Terminal) -> None:
    """Stops the cluster of this module."""
    database = int((here.home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    here.cluster("down").require()
    assert is_gone(database)
    for file in (here.place.key("agent-1"), here.place.tls / "ca.key", here.place.secrets, here.place.owner_token):
        file.chmod(0o640)
        refused = here.cluster(*UP)
        assert refused.code == 1
        assert f"error CONFIG_INVALID: {file} holds secrets and is open to group or others (mode 0640)" in refused.err
        assert here.cluster("status").code == 3
        file.chmod(0o600)


def test_certificates_are_kept_while_they_count(here: Terminal) -> None:
    before = {file.name: file.read_bytes() for file in here.place.tls.iterdir()}
    here.place.certificate("agent-1").unlink()
    here.cluster(*UP).require()
    after = {file.name: file.read_bytes() for file in here.place.tls.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"agent-1.pem", "agent-1.key"}
    here.cluster("down").require()
