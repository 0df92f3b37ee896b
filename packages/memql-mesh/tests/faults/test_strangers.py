"""Nodes that may not come in, or not any more: each is refused with its status, and the trail tells of it."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cutting import Cuts, cut
from fleet import QUICK, Fleet, fleet
from identity_system import BASE, SHARED_SECRET, seed_text
from issuer_system import Rows, Signer
from tally import show
from trusted_mesh import Caller, calling, hello
from trusted_system import Callers

from memql.auth.surfaces import CredentialKind
from memql.engine.assembly import build_engine
from memql.graph.database import Database
from memql.lang.loader import load_tree, read_sources
from memql.mesh.wire.messages import NodeShutdown, NodeWelcome

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(200)]

NODES = ("bff-1", "cognition-1", "agent-1")
CUT_FOR = 5.0
WITHIN = 5.0
"""Seconds from a revocation to the end of the streams that it concerns."""

OK = grpc.StatusCode.OK
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
MISMATCH = "the hello names another node than the credential"
FORGED = Signer()
_ROW = (
    "SELECT id FROM memory_heads WHERE concept = 'v1:identity:identity' AND NOT deleted "
    "AND payload #>> '{credentials,nodeId}' = %s AND payload #>> '{credentials,nodeType}' = %s"
)
_TRAIL = "SELECT payload FROM memory_heads WHERE concept = 'v1:identity:auditEvent' ORDER BY seq"


@dataclass
class Guarded:
    """A mesh with an identity service, as processes; its signing key is known here too, so that any token can be
    made."""

    nodes: Fleet
    database: Database
    callers: Callers

    async def token(self, node_id: str, node_type: str = "bff", **claims: Any) -> str:
        """A node's token, and a new row for it."""
        row = await self.callers.rows.node(node_id, node_type)
        said = {"class": "node", "sub": row, "cid": row, "sid": None, "node_id": node_id, "node_type": node_type}
        return self.callers.signer.token(iss=BASE, **{**said, **claims})

    async def row(self, node_id: str, node_type: str) -> str:
        """The row of a node's credential."""
        found = await self.database.fetch_one(_ROW, (node_id, node_type))
        assert found is not None
        return str(found[0])

    async def trail(self) -> list[dict[str, Any]]:
        """The audit events, oldest first."""
        return [payload for (payload,) in await self.database.fetch(_TRAIL)]

    async def bootstrap(self, secret: str, node_id: str, node_type: str) -> tuple[int, dict[str, Any]]:
        """Ask for a node's credential."""
        url = f"http://{self.nodes.nodes['identity-1'].http}/node/bootstrap"
        body, headers = {"nodeId": node_id, "nodeType": node_type}, {"Authorization": f"Bootstrap {secret}"}
        async with ClientSession() as http, http.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def mesh(dsn: str, database: Database, tmp_path: Path) -> AsyncIterator[Guarded]:
    seed = secrets.token_bytes(32)
    engine = build_engine(database, load_tree(read_sources(())).require(), publish=lambda event: None)
    callers = Callers(Rows(engine.writer), Signer(Ed25519PrivateKey.from_private_bytes(seed)), issuer=BASE)
    await callers.prepare()
    async with fleet(dsn, tmp_path) as nodes:
        issuer = await nodes.start("identity-1", **_issuing(seed, tmp_path))
        await nodes.ready("identity-1")
        for name in NODES:
            await nodes.start(name, **QUICK, **_joining(issuer.http))
        await nodes.ready(*NODES)
        await nodes.whole(*NODES)
        yield Guarded(nodes, database, callers)


def _issuing(seed: bytes, home: Path) -> Mapping[str, str]:
    return {
        "IDENTITY_BASE_URL": BASE,
        "IDENTITY_KEY_DIR": str(home / "keys"),
        "IDENTITY_SIGNING_KEY_B64": seed_text(seed),
        "MEMQL_NODE_BOOTSTRAP_TOKEN": SHARED_SECRET,
        "MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP": "1",
    }


def _joining(issuer: str) -> Mapping[str, str]:
    return {
        "IDENTITY_VERIFIER_BASE_URL": f"http://{issuer}",
        "IDENTITY_VERIFIER_EXPECTED_ISSUER": BASE,
        "MEMQL_NODE_BOOTSTRAP_TOKEN": SHARED_SECRET,
    }


# --- at the door -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What a stranger shows and says, the status that it is refused with, and the reason in the trail."""

    what: str
    authorization: str
    status: grpc.StatusCode
    reason: str
    says: tuple[str, str] | None = None


async def cases(mesh: Guarded) -> list[Case]:
    shown, token = mesh.callers.shown(), mesh.token
    gone = await token("bff-20")
    await mesh.callers.rows.revoke(await mesh.row("bff-20", "bff"))
    kid = mesh.callers.signer.public.kid
    stolen: dict[str, Any] = {"class": "node", "sub": "x", "cid": "x", "node_id": "bff-21", "node_type": "bff"}
    forged = FORGED.token({"kid": kid}, iss=BASE, **stolen)
    late = await token("bff-22", exp=int(time.time()) - 90)
    return [
        Case("nothing", "", UNAUTHENTICATED, "missing"),
        Case("a revoked node's token", f"Bearer {gone}", DENIED, "revoked"),
        Case("a token whose row never was", f"Bearer {await token('bff-23', cid='nobody')}", DENIED, "revoked"),
        Case("a user's token", shown[CredentialKind.USER], DENIED, "class user"),
        Case("a personal access token", shown[CredentialKind.PAT], DENIED, "class pat"),
        Case("a voice agent's token", shown[CredentialKind.VOICE_AGENT], DENIED, "class voice_agent"),
        Case("a service account's token", shown[CredentialKind.SERVICE_ACCOUNT], DENIED, "class service_account"),
        Case("a token for no node", f"Bearer {await token('bff-24', '')}", DENIED, "which node"),
        Case("an expired token", f"Bearer {late}", UNAUTHENTICATED, "expired"),
        Case("a token that another key signed", f"Bearer {forged}", UNAUTHENTICATED, "signature"),
        Case("the bootstrap secret", f"Bootstrap {SHARED_SECRET}", UNAUTHENTICATED, "surface"),
        Case("a hello of another id", f"Bearer {await token('bff-25')}", OK, MISMATCH, ("agent-1", "bff")),
        Case("a hello of another type", f"Bearer {await token('bff-26')}", OK, MISMATCH, ("bff-26", "planner")),
    ]


async def refusal(address: str, case: Case) -> tuple[grpc.StatusCode, str]:
    """The status with which a stranger's stream ends, and what it was told before."""
    async with calling(address, case.authorization) as caller:
        if case.says is None:
            return await caller.status(), ""
        await caller.say(hello(*case.says))
        told = await caller.wait_for(NodeShutdown)
        return await caller.status(), told.reason


async def test_strangers_are_refused_with_their_status_and_the_trail_tells(mesh: Guarded) -> None:
    every = await cases(mesh)
    before = len(await mesh.trail())
    ended = [await refusal(mesh.nodes.nodes["agent-1"].service, case) for case in every]
    wanted = Counter(case.reason for case in every)
    audited = await refusals(mesh, before, wanted)
    rows = [
        {"shown": case.what, "ended": status.name, "in the trail as": case.reason}
        for case, (status, _) in zip(every, ended, strict=True)
    ]
    show("strangers at the door of agent-1", rows)
    show("the trail", [{"reason": reason, "attempts": attempts} for reason, attempts in audited.items()])
    assert [status for status, _ in ended] == [case.status for case in every]
    assert all("another node" in told for case, (_, told) in zip(every, ended, strict=True) if case.says)
    assert audited == wanted
    assert (await mesh.nodes.get(mesh.nodes.nodes["agent-1"], "/healthz"))[0] == 200


async def refusals(mesh: Guarded, before: int, wanted: Counter[str]) -> Counter[str]:
    """How many refusals the trail tells of past its first so many events, by reason; waits for as many as wanted."""
    found: Counter[str] = Counter()
    with anyio.move_on_after(20):
        while found.total() < wanted.total():
            await anyio.sleep(0.1)
            found = Counter()
            for event in (await mesh.trail())[before:]:
                if event["action"] == "node_stream_refused":
                    assert (event["outcome"], event["sourceIP"]) == ("blocked", "127.0.0.1")
                    reason = next((one for one in wanted if one in event["failureReason"]), event["failureReason"])
                    found[reason] += event["detail"]["attempts"]
    return found


async def test_a_bootstrap_secret_that_is_replayed_gets_nothing_for_a_revoked_node(mesh: Guarded) -> None:
    status, _ = await mesh.bootstrap(SHARED_SECRET, "bff-30", "bff")
    assert status == 200
    await mesh.callers.rows.revoke(await mesh.row("bff-30", "bff"))
    tries: list[tuple[str, Callable[[], Awaitable[tuple[int, dict[str, Any]]]]]] = [
        ("for the revoked node", lambda: mesh.bootstrap(SHARED_SECRET, "bff-30", "bff")),
        ("a wrong one", lambda: mesh.bootstrap("x" * 47, "bff-31", "bff")),
        ("as the identity service", lambda: mesh.bootstrap(SHARED_SECRET, "identity-9", "identity")),
    ]
    rows: list[dict[str, object]] = []
    for what, attempt in tries:
        before = len(await mesh.trail())
        status, answer = await attempt()
        # Written before it is answered.
        audited = [event["failureReason"] for event in (await mesh.trail())[before:] if event["outcome"] == "blocked"]
        rows.append({"secret shown": what, "status": status, "error": answer["error"], "in the trail as": audited})
    show("bootstrap secrets at the identity service", rows)
    assert [(row["status"], row["error"]) for row in rows] == [
        (403, "credential_revoked"),
        (401, "invalid_bootstrap_secret"),
        (400, "bad_request"),
    ]
    assert [row["in the trail as"] for row in rows] == [["credential_revoked"], ["invalid_bootstrap_secret"], []]


# --- inside ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def inside(mesh: Guarded, node_id: str) -> AsyncIterator[list[Caller]]:
    """The streams of a stranger to every node, all of them welcome."""
    token = await mesh.token(node_id)
    async with AsyncExitStack() as stack:
        callers = []
        for name in NODES:
            address = mesh.nodes.nodes[name].service
            caller = await stack.enter_async_context(calling(address, f"Bearer {token}"))
            await caller.say(hello(node_id))
            await caller.wait_for(NodeWelcome)
            callers.append(caller)
        yield callers


async def test_a_revocation_reaches_open_streams_on_every_node_within_five_seconds(mesh: Guarded) -> None:
    ended: list[dict[str, object]] = []
    async with inside(mesh, "bff-40") as callers:
        began = time.monotonic()
        await mesh.callers.rows.revoke(await mesh.row("bff-40", "bff"))

        async def end(name: str, caller: Caller) -> None:
            status = await caller.status(3 * WITHIN)
            ended.append({"stream to": name, "status": status.name, "after": time.monotonic() - began})

        async with anyio.create_task_group() as tasks:
            for name, caller in zip(NODES, callers, strict=True):
                tasks.start_soon(end, name, caller)
    show("open streams of a node that is revoked", ended)
    assert [row["status"] for row in ended] == [DENIED.name] * len(NODES)
    assert all(float(str(row["after"])) < WITHIN for row in ended)


async def test_a_member_that_is_revoked_loses_its_streams_and_does_not_come_back(mesh: Guarded) -> None:
    """A real node: it dials on, is told each time that it is not welcome, and the others go on without it."""
    nodes, member = mesh.nodes, "cognition-1"
    others = [name for name in NODES if name != member]
    lost = dialed(nodes, member)
    before = len(await mesh.trail())
    began = time.monotonic()
    await mesh.callers.rows.revoke(await mesh.row(member, "cognition"))
    with anyio.fail_after(3 * WITHIN):
        while dialed(nodes, member):  # noqa: ASYNC110  other processes
            await anyio.sleep(0.02)
    cut = time.monotonic() - began
    audited = await refusals(mesh, before, Counter({"revoked": 2 * len(lost)}))
    show(
        f"{member} is revoked",
        [{"streams lost": ", ".join(lost), "after": cut, "refused, in the trail": audited["revoked"]}],
    )
    assert lost
    assert cut < WITHIN
    assert audited["revoked"] >= 2 * len(lost)
    assert not dialed(nodes, member)
    await nodes.whole(*others)
    assert all(nodes.nodes[name].alive for name in NODES)


async def test_a_mesh_with_credentials_lives_through_cuts_of_its_connections(mesh: Guarded, dsn: str) -> None:
    """Also while it starts, and though every hello asks the database about its credential."""
    nodes, cuts = mesh.nodes, Cuts()
    everybody = ("identity-1", *NODES)
    async with anyio.create_task_group() as cutting:
        cutting.start_soon(cut, dsn, cuts)
        for name in everybody:
            nodes.kill(name)
            await nodes.gone(name)
            await nodes.start(name)
        pids = [nodes.nodes[name].pid for name in everybody]
        await nodes.ready(*everybody)
        await anyio.sleep(CUT_FOR)
        cutting.cancel_scope.cancel()
    healed = await nodes.whole(*NODES)
    died = [name for name in everybody if not nodes.nodes[name].alive]
    show(f"whole {healed:.1f} s after the last cut", [{**vars(cuts), "nodes died": len(died)}])
    assert not died
    assert pids == [nodes.nodes[name].pid for name in everybody]


def dialed(nodes: Fleet, member: str) -> list[str]:
    """To whom a node has a stream that it dialed; what others dial is held to their credentials."""
    return [str(name) for name in nodes.nodes[member].view()["dialed"]]
