"""A whole node that verifies its callers: the surface matrix on real sockets, and streams over the life of a
credential."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import grpc
import pytest
from server_system import Wire
from trusted_system import OPERATOR, PAT, Trusted, trusted_node

from memql.auth.surfaces import MATRIX, CredentialKind, Surface
from memql.events import Event
from memql.graph.database import Database
from memql.wire.frames import Frame
from memql.wire.messages import (
    CallToolMsg,
    ClientHello,
    EvaluatePolicyMsg,
    ListToolsMsg,
    MyAccessMsg,
    QueryErrorMsg,
    RotateAuthMsg,
    RunAutomationMsg,
    SubscribeMsg,
    SubscriptionKind,
    UnsubscribeMsg,
    UserRole,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def trusted(dsn: str, tmp_path: Path) -> AsyncIterator[Trusted]:
    async with trusted_node(dsn, tmp_path) as running:
        yield running


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  a state of the node
            await anyio.sleep(0.01)


def error_code(frame: Frame) -> str:
    message = frame.message()
    assert isinstance(message, QueryErrorMsg)
    assert message.error is not None
    return message.error.code


# --- the matrix -----------------------------------------------------------------------------------------------------


def expected(kind: CredentialKind, surface: Surface) -> str:
    if kind is CredentialKind.GUEST and MATRIX[kind, surface].value == "ok":
        # There is no invitation yet that such a token could be of.
        return "UNAUTHENTICATED"
    return {"ok": "ok", "unauthenticated": "UNAUTHENTICATED", "forbidden": "FORBIDDEN"}[MATRIX[kind, surface].value]


async def test_every_kind_of_credential_is_admitted_or_refused_as_the_matrix_says(trusted: Trusted) -> None:
    seen: dict[tuple[str, str], str] = {}
    wanted: dict[tuple[str, str], str] = {}
    for kind, authorization in trusted.callers.shown().items():
        seen[kind.value, "grpc"] = await trusted.over_grpc(authorization)
        seen[kind.value, "ws"] = await trusted.over_websocket(authorization)
        seen[kind.value, "query"] = await trusted.over_http(authorization)
        wanted[kind.value, "grpc"] = expected(kind, Surface.MEMQL_SERVICE)
        wanted[kind.value, "ws"] = wanted[kind.value, "query"] = expected(kind, Surface.WEB)
    assert seen == wanted


async def test_what_no_longer_counts_is_unauthenticated_everywhere(trusted: Trusted) -> None:
    callers, rows = trusted.callers, trusted.callers.rows
    revoked = await rows.session("gone", callers.ids["user"])
    await rows.revoke(revoked)
    eve = await rows.user("eve", suspendedAt="2026-01-01T00:00:00Z")
    bumped = await rows.user("bob", revocationEpoch=2)
    old = {
        "expired": callers.user(exp=int(datetime.now(UTC).timestamp()) - 60),
        "bad signature": callers.user()[:-20] + "A" * 20,
        "unknown key": callers.signer.__class__().token(),
        "revoked session": callers.user(sid=revoked),
        "unknown session": callers.user(sid="nowhere"),
        "somebody else's session": callers.user(sub=bumped, revocation_epoch=2),
        "suspended": callers.user(sub=eve, sid=await rows.session("s-eve", eve)),
        "epoch": callers.user(sub=bumped, sid=await rows.session("s-bob", bumped), revocation_epoch=1),
        "unknown user": callers.user(sub="nobody"),
        "no id at all": callers.user(sub="not an id"),
        "unknown token": "mql_pat_" + "z" * 43,
    }
    for name, token in old.items():
        assert await trusted.over_grpc(f"Bearer {token}") == "UNAUTHENTICATED", name
        assert await trusted.over_websocket(f"Bearer {token}") == "UNAUTHENTICATED", name
        assert await trusted.over_http(f"Bearer {token}") == "UNAUTHENTICATED", name


async def test_a_token_may_come_as_a_subprotocol(trusted: Trusted) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{trusted.http}/memql/ws", protocols=("bearer", trusted.callers.user())) as socket,
    ):
        assert socket.protocol == "bearer"
        assert "serverHello" in (await socket.receive_json(timeout=30))


# --- who one is -----------------------------------------------------------------------------------------------------


async def access(wire: Wire) -> Any:
    await wire.send(MyAccessMsg())
    return await wire.message("my_access_result")


async def test_a_token_and_a_personal_access_token_are_the_same_user(trusted: Trusted) -> None:
    for token in (trusted.callers.user(role="owner"), PAT):
        async with trusted.connect(f"Bearer {token}") as wire:
            result = await access(wire)
            assert (result.user_id, result.primary_email) == (trusted.callers.ids["user"], "ada@example.com")
            # What the row says counts, not what the token claims.
            assert result.cluster_role is UserRole.WRITER


async def test_the_operator_is_the_owner_until_the_cluster_has_one(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memql.auth.credentials.CACHE_SECONDS", 0.0)
    async with trusted.connect(f"Operator {OPERATOR}") as wire:
        assert (await access(wire)).cluster_role is UserRole.OWNER
    assert await trusted.over_grpc("Operator wrong-" + "o" * 40) == "UNAUTHENTICATED"
    await trusted.callers.rows.user("grace", role="owner")
    assert await trusted.over_grpc(f"Operator {OPERATOR}") == "UNAUTHENTICATED"
    events = await trusted.node.database.fetch(
        "SELECT payload ->> 'outcome', payload ->> 'failureReason', payload ->> 'sourceIP' FROM memory_heads "
        "WHERE concept = 'v1:identity:auditEvent' AND payload ->> 'action' = 'operator_admitted' ORDER BY seq"
    )
    assert events == [("success", "", "127.0.0.1"), ("blocked", "cluster_claimed", "127.0.0.1")]


async def test_the_operator_is_let_in_later_only_by_breaking_the_glass(dsn: str, tmp_path: Path) -> None:
    async with trusted_node(dsn, tmp_path, {"MEMQL_OPERATOR_BREAK_GLASS": "true"}) as trusted:
        await trusted.callers.rows.user("grace", role="owner")
        assert await trusted.over_grpc(f"Operator {OPERATOR}") == "ok"


async def test_without_an_operator_token_there_is_no_operator(dsn: str, tmp_path: Path) -> None:
    async with trusted_node(dsn, tmp_path, {"MEMQL_OPERATOR_TOKEN": ""}) as trusted:
        assert await trusted.over_grpc(f"Operator {OPERATOR}") == "UNAUTHENTICATED"
        assert await trusted.over_grpc("Operator x") == "UNAUTHENTICATED"


# --- frames ---------------------------------------------------------------------------------------------------------


async def test_a_service_account_reads_and_nothing_else(trusted: Trusted) -> None:
    shown = trusted.callers.shown()[CredentialKind.SERVICE_ACCOUNT]
    async with trusted.connect(shown) as wire:
        await wire.query("count v1:identity:user")
        assert (await wire.receive("query_result")).name == "query_result"
        for text in (
            'insert("v1:identity:user", payload={displayName: "x"})',
            'delete("v1:identity:user", id="ada")',
            "concept==v1:identity:user",
        ):
            await wire.query(text)
            assert error_code(await wire.receive("query_error")) == "PermissionDenied"
        await wire.send(CallToolMsg(name="anything"))
        assert (await wire.message("call_tool_result")).is_error
        await wire.send(RunAutomationMsg(automation="anything"))
        refused = await wire.receive()
        assert "service_account" in str(refused.message())
        # Only those frames were refused, not the stream.
        await wire.query("concepts()")
        await wire.receive("query_result")
        await wire.send(EvaluatePolicyMsg(policy_name="none"))
        assert (await wire.message("evaluate_policy_result")).error_code == "POLICY_UNKNOWN"


async def test_a_voice_agent_may_not_query_but_may_use_tools(trusted: Trusted) -> None:
    async with trusted.connect(trusted.callers.shown()[CredentialKind.VOICE_AGENT]) as wire:
        await wire.query("concepts()")
        assert error_code(await wire.receive("query_error")) == "PermissionDenied"
        await wire.send(ListToolsMsg())
        await wire.message("list_tools_result")


async def test_a_pinned_socket_is_pinned_too(trusted: Trusted) -> None:
    shown = {"Authorization": trusted.callers.shown()[CredentialKind.SERVICE_ACCOUNT]}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{trusted.http}/memql/ws", headers=shown) as socket,
    ):
        await socket.receive_json(timeout=30)
        await socket.send_json({"messageId": "1", "listTools": {}})
        assert "PermissionDenied" in str(await socket.receive_json(timeout=30))


# --- ending ---------------------------------------------------------------------------------------------------------


async def test_a_revocation_ends_two_hundred_streams_at_one_look_per_window(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    fetch = Database.fetch

    async def counted(self: Database, statement: Any, params: Any = None, **options: Any) -> Any:
        if "FROM memory_heads WHERE id = ANY" in str(statement):
            looks.append(anyio.current_time())
        return await fetch(self, statement, params, **options)

    window = 1.5
    more = {"IDENTITY_VERIFIER_REVOCATION_CHECK_SECONDS": str(window)}
    async with trusted_node(dsn, tmp_path, more) as trusted, AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(str(trusted.node.server.grpc_address)))
        metadata = (("authorization", f"Bearer {trusted.callers.user()}"),)
        wires = [
            Wire(channel.stream_stream("/znasllc.memql.v1.MemqlService/Stream")(metadata=metadata)) for _ in range(200)
        ]
        for wire in wires:
            await wire.send(ClientHello())
        for wire in wires:
            await wire.receive("server_hello")
        monkeypatch.setattr(Database, "fetch", counted)
        began = anyio.current_time()
        await until(lambda: len(looks) >= 2)
        # Written as another process writes it: this node hears of it from the database alone.
        await trusted.node.database.execute(
            'UPDATE memory_heads SET payload = payload || \'{"revokedAt": "2026-01-01T00:00:00Z"}\' WHERE id = %s',
            (trusted.callers.ids["session"],),
        )
        revoked = anyio.current_time()
        codes: list[Any] = []

        async def wait_for_end(wire: Wire) -> None:
            codes.append(await wire.stream.code())

        with anyio.fail_after(10):
            async with anyio.create_task_group() as waiting:
                for wire in wires:
                    waiting.start_soon(wait_for_end, wire)
        assert anyio.current_time() - revoked < 5
        assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
        assert len(looks) <= (anyio.current_time() - began) / window + 2
        await until(lambda: len(trusted.node.sessions) == 0)


async def test_a_socket_whose_credential_is_revoked_is_closed_with_4401(trusted: Trusted) -> None:
    headers = {"Authorization": f"Bearer {PAT}"}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{trusted.http}/memql/ws", headers=headers) as socket,
    ):
        await socket.receive(timeout=30)
        await trusted.callers.rows.revoke(trusted.callers.ids["pat"])
        with anyio.fail_after(5):
            while not socket.closed:
                await socket.receive()
        assert socket.close_code == 4401


async def test_machines_and_suspended_people_lose_their_streams_too(trusted: Trusted) -> None:
    callers = trusted.callers
    shown = callers.shown()
    async with (
        trusted.connect(shown[CredentialKind.SERVICE_ACCOUNT]) as gate,
        trusted.connect(shown[CredentialKind.USER]) as user,
    ):
        for wire in (gate, user):
            await wire.send(ClientHello())
            await wire.receive("server_hello")
        await callers.rows.revoke(callers.ids["service_account"])
        await callers.rows.change(callers.ids["user"], suspendedAt="2026-01-01T00:00:00Z")
        assert await trusted.ending(gate) is grpc.StatusCode.UNAUTHENTICATED
        assert await trusted.ending(user) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_changed_role_counts_on_the_open_stream_within_two_seconds(trusted: Trusted) -> None:
    async with trusted.connect(f"Bearer {trusted.callers.user()}") as wire:
        await wire.query("concept==v1:identity:user")
        assert error_code(await wire.receive("query_error")) == "PermissionDenied"
        await trusted.callers.rows.change(trusted.callers.ids["user"], role="admin")
        with anyio.fail_after(2):
            while (await access(wire)).cluster_role is not UserRole.ADMIN:  # noqa: ASYNC110  a state of the node
                await anyio.sleep(0.05)
        await wire.query("concept==v1:identity:user")
        await wire.receive("query_result")


async def test_a_subscription_that_a_lower_role_may_not_have_is_taken_away(trusted: Trusted) -> None:
    await trusted.callers.rows.change(trusted.callers.ids["user"], role="admin")
    async with trusted.connect(f"Bearer {trusted.callers.user()}") as wire:
        await wire.send(SubscribeMsg(subscription_id="all", kind=SubscriptionKind.ALL))
        await wire.send(SubscribeMsg(subscription_id="graph", kind=SubscriptionKind.GRAPH_EVENTS))
        await wire.receive("event")
        await wire.receive("event")
        await trusted.callers.rows.change(trusted.callers.ids["user"], role="reader")
        with anyio.fail_after(20):
            while "subscription-error" not in str((await wire.receive("event")).message()):
                pass
        await wire.send(UnsubscribeMsg(subscription_id="graph"))
        with anyio.fail_after(20):
            while "unsubscribed" not in str((await wire.receive("event")).message()):
                pass


# --- expiry and rotation --------------------------------------------------------------------------------------------


def soon(seconds: float) -> float:
    return datetime.now(UTC).timestamp() + seconds


async def rotate(wire: Wire, token: str) -> Any:
    await wire.send(RotateAuthMsg(access_token=token))
    return await wire.message("rotate_auth_result")


async def test_after_expiry_only_control_frames_are_served_and_rotating_brings_the_rest_back(trusted: Trusted) -> None:
    await trusted.callers.rows.change(trusted.callers.ids["user"], role="admin")
    async with trusted.connect(f"Bearer {trusted.callers.user(exp=soon(1.2))}") as wire:
        await wire.send(SubscribeMsg(subscription_id="mine", kind=SubscriptionKind.GRAPH_EVENTS))
        await wire.receive("event")
        with anyio.fail_after(10):
            while True:
                await wire.query("concepts()")
                answer = await wire.receive()
                if answer.name == "query_error":
                    break
                await anyio.sleep(0.05)
        assert error_code(answer) == "Unauthenticated"
        await wire.send(ClientHello())
        await wire.receive("server_hello")
        assert (await rotate(wire, trusted.callers.user())).ok
        await wire.query("concepts()")
        await wire.receive("query_result")
        # The subscription has lived through it.
        await trusted.callers.rows.user("dave")
        with anyio.fail_after(20):
            while "dave" not in str((await wire.receive("event")).message()):
                pass


async def test_a_stream_that_does_not_rotate_in_time_ends(trusted: Trusted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memql.server.keeper.GRACE_SECONDS", 0.3)
    async with trusted.connect(f"Bearer {trusted.callers.user(exp=soon(0.5))}") as wire:
        await wire.send(ClientHello())
        await wire.receive("server_hello")
        assert await trusted.ending(wire) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_rotation_that_fails_says_why_and_changes_nothing(trusted: Trusted) -> None:
    rows = trusted.callers.rows
    eve = await rows.user("eve")
    other = trusted.callers.user(sub=eve, sid=await rows.session("s-eve", eve))
    async with trusted.connect(f"Bearer {trusted.callers.user()}") as wire:
        assert (await rotate(wire, "junk")).error == "invalid_token"
        assert (await rotate(wire, trusted.callers.machine("node"))).error == "invalid_token"
        assert (await rotate(wire, other)).error == "subject_mismatch"
        assert (await access(wire)).user_id == trusted.callers.ids["user"]


async def test_a_rotation_that_cannot_be_checked_says_so(trusted: Trusted, monkeypatch: pytest.MonkeyPatch) -> None:
    from memql.auth.credentials import CredentialStore
    from memql.errors import Code, MemqlError

    async with trusted.connect(f"Bearer {trusted.callers.user()}") as wire:
        await wire.send(ClientHello())
        await wire.receive("server_hello")

        async def away(self: CredentialStore, credential: Any) -> Any:
            raise MemqlError(Code.UNAVAILABLE, "the database is away")

        monkeypatch.setattr(CredentialStore, "standing", away)
        assert (await rotate(wire, trusted.callers.user())).error == "access_load_failed"


async def test_the_stream_lives_and_dies_with_the_credential_it_was_rotated_to(trusted: Trusted) -> None:
    rows = trusted.callers.rows
    second = await rows.session("s2", trusted.callers.ids["user"])
    first = f"Bearer {trusted.callers.user()}"
    async with trusted.connect(first) as wire, trusted.connect(first) as left_behind:
        await access(left_behind)
        assert (await rotate(wire, trusted.callers.user(sid=second))).ok
        await rows.revoke(trusted.callers.ids["session"])
        assert await trusted.ending(left_behind) is grpc.StatusCode.UNAUTHENTICATED
        await access(wire)
        await rows.revoke(second)
        assert await trusted.ending(wire) is grpc.StatusCode.UNAUTHENTICATED


# --- around ---------------------------------------------------------------------------------------------------------


async def test_opening_and_closing_are_told_on_the_bus(trusted: Trusted) -> None:
    told: list[Event] = []
    with trusted.node.bus.tap(told.append):
        async with trusted.connect(f"Bearer {trusted.callers.user()}") as wire:
            await wire.send(ClientHello())
            await wire.receive("server_hello")
        await until(lambda: any(event.topic == "session.closed" for event in told))
    opened = next(event for event in told if event.topic == "session.opened")
    assert (opened.kind, opened.payload) == (
        "SESSION_OPENED",
        {
            "subject": trusted.callers.ids["user"],
            "email": "ada@example.com",
            "firstName": "Ada",
            "lastName": "Lovelace",
            "role": "writer",
            "phoneNumber": "+4930123456",
        },
    )


async def ready(trusted: Trusted) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{trusted.http}/readyz") as response:
        return response.status, await response.json()


async def test_a_node_is_ready_when_it_knows_the_keys(trusted: Trusted) -> None:
    status, body = await ready(trusted)
    assert status == 200
    assert {"name": "verifier_keys", "ready": True} in body["checks"]


async def test_a_node_that_knows_no_key_is_not_ready_and_lets_nobody_in(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trusted_node(dsn, tmp_path) as trusted:
        assert trusted.node.trust is not None
        monkeypatch.setattr(trusted.node.trust.verifier.keys, "_lifetime", -1.0)
        status, body = await ready(trusted)
        assert (status, body["missing"]) == (503, ["verifier_keys"])
        assert await trusted.over_grpc(f"Bearer {trusted.callers.user()}") == "UNAVAILABLE"
        assert await trusted.over_http(f"Bearer {trusted.callers.user()}") == "503"


async def test_a_database_that_is_away_lets_nobody_in_and_says_so(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memql.auth.credentials import CredentialStore
    from memql.errors import Code, MemqlError

    async def away(self: CredentialStore, ids: Any) -> Any:
        raise MemqlError(Code.UNAVAILABLE, "the database is away")

    monkeypatch.setattr(CredentialStore, "refresh", away)
    assert await trusted.over_grpc(f"Bearer {trusted.callers.user()}") == "UNAVAILABLE"


def test_a_node_that_verifies_nothing_loads_no_cryptography() -> None:
    program = """
import sys
import memql.automations, memql.engine.assembly, memql.node.node, memql.server.server
print([name for name in ("jwt", "cryptography") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
