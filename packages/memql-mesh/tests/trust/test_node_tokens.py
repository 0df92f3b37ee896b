"""Nodes of a mesh with an identity service: who is let in, who is not, for how long, and what is written down."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import grpc
import pytest
from identity_system import SHARED_SECRET
from mesh_nodes import Member, connected, until
from trusted_mesh import TrustedMesh, calling, hello, trusted_mesh

from memql.auth.surfaces import MATRIX, CredentialKind, Surface, Verdict
from memql.errors import Code, MemqlError
from memql.mesh.wire.messages import NodeHeartbeat, NodeShutdown, NodeWelcome

pytestmark = pytest.mark.anyio

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def mesh(dsn: str, tmp_path: Path) -> AsyncIterator[TrustedMesh]:
    async with trusted_mesh(dsn, tmp_path) as running:
        yield running


@pytest.fixture
async def agent(mesh: TrustedMesh) -> AsyncIterator[Member]:
    async with mesh.member("agent", "agent-1") as one:
        yield one


async def test_nodes_get_their_credentials_and_join(mesh: TrustedMesh, agent: Member) -> None:
    async with mesh.member("bff", "bff-1") as bff, mesh.member("cognition", "cognition-1") as cognition:
        await connected(bff, cognition, agent)
        for one in (bff, cognition, agent):
            await until(lambda one=one: dict(one.mesh.checks())["node_token"])  # type: ignore[misc]
    minted = await mesh.identity.trail("node_token_minted")
    assert {event["detail"]["nodeId"] for event in minted} >= {"bff-1", "cognition-1", "agent-1"}
    assert not await mesh.refusals()


async def test_every_credential_gets_what_the_matrix_says(mesh: TrustedMesh, agent: Member) -> None:
    expected = {Verdict.OK: "node_welcome", Verdict.UNAUTHENTICATED: UNAUTHENTICATED, Verdict.FORBIDDEN: DENIED}
    outcomes: dict[CredentialKind, str | grpc.StatusCode] = {}
    for kind, authorization in mesh.callers.shown().items():
        async with calling(agent.mesh.address, authorization) as caller:
            outcomes[kind] = await caller.outcome(hello())
    assert outcomes == {kind: expected[MATRIX[kind, Surface.NODE_SERVICE]] for kind in outcomes}
    assert len(outcomes) == len(CredentialKind) - 1
    assert [kind for kind, outcome in outcomes.items() if outcome == "node_welcome"] == [CredentialKind.NODE]


async def test_the_refused_are_written_down(mesh: TrustedMesh, agent: Member) -> None:
    shown = mesh.callers.shown()
    revoked = await mesh.node_token("bff-7", "bff")
    row = (
        await mesh.identity.node.database.fetch_one(
            "SELECT id FROM memory_heads WHERE payload #>> '{credentials,nodeId}' = 'bff-7'"
        )
    ) or ("",)
    await mesh.identity.rows.change(row[0], active=False)
    cases = {
        "a wrong class": (shown[CredentialKind.USER], DENIED, "user"),
        "a revoked node": (f"Bearer {revoked}", DENIED, "revoked"),
        "an expired token": (
            f"Bearer {await mesh.node_token('bff-8', 'bff', exp=int(time.time()) - 90)}",
            UNAUTHENTICATED,
            "expired",
        ),
        "a token without a row": (f"Bearer {await mesh.node_token('bff-9', 'bff', cid='nobody')}", DENIED, "revoked"),
        "the bootstrap secret itself": (f"Bootstrap {SHARED_SECRET}", UNAUTHENTICATED, "surface"),
        "a token for no node": (
            f"Bearer {await mesh.node_token('bff-6', '')}",
            DENIED,
            "which node",
        ),
    }
    for case, (authorization, status, reason) in cases.items():
        async with calling(agent.mesh.address, authorization) as caller:
            assert await caller.status() is status, case
        with anyio.fail_after(15):
            while not any(reason in event["failureReason"] for event in await mesh.refusals()):  # noqa: ASYNC110
                await anyio.sleep(0.05)
    events = await mesh.refusals()
    assert all(event["outcome"] == "blocked" and event["sourceIP"] == "127.0.0.1" for event in events)


async def test_a_hello_for_another_node_is_refused_and_written_down(mesh: TrustedMesh, agent: Member) -> None:
    token = await mesh.node_token("bff-0", "bff")
    for said in (hello("bff-1", "bff"), hello("bff-0", "cognition")):
        async with calling(agent.mesh.address, f"Bearer {token}") as caller:
            await caller.say(said)
            frame = await caller.hear()
            assert frame is not None
            message = frame.message()
            assert isinstance(message, NodeShutdown)
            assert "another node" in message.reason
            assert await caller.hear() is None
            assert await caller.status() is grpc.StatusCode.OK
    event = await mesh.refused_for("the hello names another node than the credential")
    assert event["detail"]["nodeId"] == "bff-1"


async def test_equal_refusals_become_one_event_with_a_count(mesh: TrustedMesh, agent: Member) -> None:
    for _ in range(60):
        async with calling(agent.mesh.address, "") as caller:
            assert await caller.status() is UNAUTHENTICATED
    with anyio.fail_after(20):
        while sum(event["detail"]["attempts"] for event in await mesh.refusals()) < 60:  # noqa: ASYNC110
            await anyio.sleep(0.1)
    assert len(await mesh.refusals()) < 6


async def test_a_revoked_node_loses_its_open_streams_within_five_seconds(mesh: TrustedMesh, agent: Member) -> None:
    token = await mesh.node_token("bff-3", "bff")
    async with calling(agent.mesh.address, f"Bearer {token}") as caller:
        await caller.say(hello("bff-3"))
        frame = await caller.hear()
        assert frame is not None
        assert isinstance(frame.message(), NodeWelcome)
        await until(lambda: "bff-3" in agent.mesh.switchboard.lines)
        found = await mesh.identity.node.database.fetch_one(
            "SELECT id FROM memory_heads WHERE payload #>> '{credentials,nodeId}' = 'bff-3'"
        )
        assert found is not None
        began = time.monotonic()
        await mesh.identity.rows.change(found[0], active=False)
        assert await caller.status() is DENIED
        assert time.monotonic() - began < 5
    await until(lambda: "bff-3" not in agent.mesh.switchboard.lines)
    assert (await mesh.refused_for("revoked"))["detail"]["nodeId"] == "bff-3"


async def test_a_stream_lives_as_long_as_its_credential_and_longer_with_a_fresh_one(
    mesh: TrustedMesh, agent: Member
) -> None:
    soon = int(time.time()) + 3
    short = await mesh.node_token("bff-4", "bff", exp=soon)
    async with (
        calling(agent.mesh.address, f"Bearer {short}") as left,
        calling(agent.mesh.address, f"Bearer {await mesh.node_token('bff-5', 'bff', exp=soon)}") as renewed,
    ):
        await left.say(hello("bff-4"))
        await renewed.say(hello("bff-5"))
        await until(lambda: {"bff-4", "bff-5"} <= agent.mesh.switchboard.lines.keys())
        fresh = await mesh.node_token("bff-5", "bff")
        await renewed.say(NodeHeartbeat(), {"authorization": f"Bearer {fresh}"})
        assert await left.status() is UNAUTHENTICATED
        assert time.time() >= soon - 0.1
        await anyio.sleep(0.5)
        assert "bff-5" in agent.mesh.switchboard.lines
        await renewed.say(NodeHeartbeat(), {"authorization": f"Bearer {await mesh.node_token('bff-6', 'bff')}"})
        assert await renewed.status() is DENIED


async def test_a_node_renews_its_credential_before_it_expires_and_drops_no_stream(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memql.identity.http.bootstrap.BOOTSTRAPPED_LIFE", timedelta(seconds=8))
    async with (
        trusted_mesh(dsn, tmp_path) as mesh,
        mesh.member("bff", "bff-1") as bff,
        mesh.member("agent", "agent-1") as agent,
    ):
        await connected(bff, agent)
        await until(lambda: len(list(bff.mesh.switchboard)) == 2)
        first = list(bff.mesh.switchboard)
        with anyio.fail_after(30):
            while await mesh_minted(mesh, "bff-1") < 3:  # noqa: ASYNC110  another node's work
                await anyio.sleep(0.1)
        assert all(link.alive for link in first)


async def mesh_minted(mesh: TrustedMesh, node_id: str) -> int:
    """How often a node got a credential."""
    found = await mesh.identity.node.database.fetch(
        "SELECT payload FROM memory_heads WHERE concept = 'v1:identity:auditEvent'"
        " AND payload ->> 'action' = 'node_token_minted'"
    )
    return sum(payload["detail"].get("nodeId") == node_id for (payload,) in found)


async def test_a_node_whose_credential_is_refused_gets_another_one_and_comes_back(
    mesh: TrustedMesh, agent: Member
) -> None:
    async with mesh.member("bff", "bff-1") as bff:
        await until(lambda: bff.mesh.switchboard.dialed("agent-1"))
        link = bff.mesh.switchboard.dialed("agent-1")
        assert link is not None
        end = MemqlError(Code.UNAUTHENTICATED, "the credential was not accepted")
        for mirrored in agent.mesh.switchboard:
            mirrored.close(end)
        await until(lambda: not link.alive)
        await until(lambda: bff.mesh.switchboard.dialed("agent-1"))
        assert await mesh_minted(mesh, "bff-1") == 2


async def test_a_node_without_a_way_to_a_credential_does_not_start(mesh: TrustedMesh) -> None:
    with pytest.raises(MemqlError) as refused:
        async with mesh.member("agent", "agent-2", MEMQL_NODE_BOOTSTRAP_TOKEN=""):
            pass
    assert refused.value.code is Code.CONFIG_INVALID
    assert "MEMQL_NODE_TOKEN" in refused.value.message


async def test_a_node_with_a_wrong_secret_stays_unready_and_says_why(
    mesh: TrustedMesh, caplog: pytest.LogCaptureFixture
) -> None:
    async with mesh.member("agent", "agent-2", MEMQL_NODE_BOOTSTRAP_TOKEN="x" * 40) as agent:
        await until(lambda: "invalid_bootstrap_secret" in caplog.text)
        assert ("node_token", False) in agent.mesh.checks()


async def test_a_token_from_outside_is_shown_as_it_is(mesh: TrustedMesh, agent: Member) -> None:
    token = await mesh.node_token("bff-2", "bff")
    async with mesh.member("bff", "bff-2", MEMQL_NODE_TOKEN=token) as bff:
        await connected(bff, agent)
    assert await mesh_minted(mesh, "bff-2") == 0
