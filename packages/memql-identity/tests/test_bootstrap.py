"""``POST /node/bootstrap``: its checks in their order, who may have what, what is recorded, and the node's own side."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from certificates import Authority
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_system import BASE, SHARED_SECRET, Identity, identity_node

from memql.auth.bootstrap import bootstrap_node_token
from memql.auth.claims import TokenClass
from memql.auth.credentials import CredentialStore
from memql.auth.nodes import verify_node
from memql.auth.verifier import TokenVerifier
from memql.config.loading import load_settings
from memql.errors import Code, MemqlError
from memql.identity.http.callers import client_ip, is_secure

pytestmark = pytest.mark.anyio
BFF = {"nodeId": "bff-0", "nodeType": "bff"}
SECRETS = {"agent": "agent-" + "a" * 40, "bff": "bff-" + "b" * 40, "voice_agent": "voice-" + "v" * 40}


@pytest.fixture
async def identity(dsn: str, tmp_path: Path) -> AsyncIterator[Identity]:
    async with identity_node(dsn, tmp_path) as running:
        yield running


async def verified(identity: Identity, token: str) -> Any:
    verifier = TokenVerifier(identity.ring, issuer=BASE)
    return await verify_node(f"Bearer {token}", verifier=verifier, credentials=CredentialStore(identity.node.database))


async def test_a_node_gets_a_credential_that_opens_the_mesh(identity: Identity) -> None:
    status, body = await identity.bootstrap(SHARED_SECRET, BFF)
    assert (status, body["success"], body["nodeId"], body["nodeType"]) == (200, True, "bff-0", "bff")
    claims = await verified(identity, body["plainToken"])
    assert (claims.node_id, claims.node_type, claims.token_class) == ("bff-0", "bff", TokenClass.NODE)
    assert claims.subject == claims.credential_id == body["identityId"]
    left = datetime.fromisoformat(body["expiresAt"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    row = await identity.row(body["identityId"])
    held = row["credentials"]
    assert (row["identityType"], held["nodeId"], held["mintedBy"]) == ("node_token", "bff-0", "system:node-bootstrap")
    assert held["bootstrappedAt"]
    assert held["bootstrappedFrom"] == "127.0.0.1"
    assert body["plainToken"] not in json.dumps(row)


async def test_a_node_that_asks_again_keeps_its_row(identity: Identity) -> None:
    first = (await identity.bootstrap(SHARED_SECRET, BFF))[1]
    second = (await identity.bootstrap(SHARED_SECRET, BFF))[1]
    other = (await identity.bootstrap(SHARED_SECRET, {**BFF, "nodeId": "bff-1"}))[1]
    assert first["identityId"] == second["identityId"] != other["identityId"]
    assert first["plainToken"] != second["plainToken"]
    for answer in (first, second, other):
        await verified(identity, answer["plainToken"])


async def test_a_voice_agent_gets_its_own_class(identity: Identity) -> None:
    body = {"tokenClass": "voice_agent", "instanceId": "voice-7"}
    status, answer = await identity.bootstrap(SHARED_SECRET, body)
    assert status == 200
    claims = await TokenVerifier(identity.ring, issuer=BASE).verify(answer["plainToken"])
    assert (claims.token_class, claims.node_id) == (TokenClass.VOICE_AGENT, "voice-7")


# --- the order of the checks ----------------------------------------------------------------------------------------


async def test_the_checks_run_in_their_order(dsn: str, tmp_path: Path) -> None:
    """Each request is wrong in every way from some check on; the first one answers."""
    wrong_body: Any = b"junk"
    insecure = {"MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP": "0", "MEMQL_NODE_BOOTSTRAP_TOKEN": ""}
    async with identity_node(dsn, tmp_path, insecure) as identity:
        assert _told(await identity.bootstrap("wrong", wrong_body)) == (403, "insecure_transport")
    async with identity_node(dsn, tmp_path, {"MEMQL_NODE_BOOTSTRAP_TOKEN": ""}) as identity:
        assert _told(await identity.bootstrap("wrong", wrong_body)) == (503, "bootstrap_disabled")
    async with identity_node(dsn, tmp_path) as identity:
        assert _told(await identity.bootstrap("wrong", wrong_body)) == (401, "invalid_bootstrap_secret")
        assert _told(await identity.bootstrap(SHARED_SECRET, wrong_body)) == (400, "bad_request")
        minted = (await identity.bootstrap(SHARED_SECRET, BFF))[1]
        await identity.rows.revoke(minted["identityId"])
        assert _told(await identity.bootstrap(SHARED_SECRET, BFF)) == (403, "credential_revoked")


def _told(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    status, body = answer
    assert body["success"] is False
    assert body["errorCode"] == body["error"]
    return status, body["error"]


async def test_a_store_that_fails_is_told_and_recorded(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: Any, **options: Any) -> Any:
        raise MemqlError(Code.UNAVAILABLE, "the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(identity.issuing, "mint_node", broken)
        assert _told(await identity.bootstrap(SHARED_SECRET, BFF)) == (500, "mint_failed")
    (event,) = await identity.trail()
    assert (event["outcome"], event["failureReason"]) == ("failure", "mint_failed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nodeId": "bff-0"},
        {"nodeType": "bff"},
        {**BFF, "nodeId": "../x y"},
        {**BFF, "nodeId": "x" * 200},
        {**BFF, "nodeType": "BFF!"},
        {**BFF, "nodeType": "identity"},
        {**BFF, "tokenClass": "user"},
        {**BFF, "nodeId": 7},
        {"tokenClass": "voice_agent"},
        b"",
        b"[1]",
        b"x" * 20_000,
    ],
)
async def test_a_body_that_is_no_request_is_refused(identity: Identity, body: Any) -> None:
    assert _told(await identity.bootstrap(SHARED_SECRET, body)) == (400, "bad_request")
    assert not await identity.trail("node_token_minted")


# --- secrets --------------------------------------------------------------------------------------------------------


async def test_each_secret_mints_for_its_role_only(dsn: str, tmp_path: Path) -> None:
    given = {"IDENTITY_NODE_BOOTSTRAP_TOKENS": json.dumps(SECRETS), "MEMQL_NODE_BOOTSTRAP_TOKEN": ""}
    async with identity_node(dsn, tmp_path, given) as identity:
        voice = {"tokenClass": "voice_agent", "instanceId": "voice-7"}
        for role, secret in SECRETS.items():
            for wanted in SECRETS:
                body = voice if wanted == "voice_agent" else {"nodeId": "n-0", "nodeType": wanted}
                status, _ = await identity.bootstrap(secret, body)
                assert status == (200 if wanted == role else 401), (role, wanted)


async def test_the_shared_secret_counts_in_development_only(dsn: str, tmp_path: Path) -> None:
    seed = {"IDENTITY_KEY_ENCRYPTION_KEY": "a secret that is long enough", "MEMQL_ENVIRONMENT": "staging"}
    async with identity_node(dsn, tmp_path, seed) as identity:
        assert _told(await identity.bootstrap(SHARED_SECRET, BFF)) == (503, "bootstrap_disabled")


async def test_a_wrong_secret_is_recorded_with_where_it_came_from(identity: Identity) -> None:
    await identity.bootstrap("wrong", BFF, **{"User-Agent": "intruder/1"})
    (event,) = await identity.trail()
    assert (event["category"], event["action"]) == ("identity", "node_token_minted")
    assert (event["outcome"], event["failureReason"]) == ("blocked", "invalid_bootstrap_secret")
    assert (event["sourceIP"], event["userAgent"]) == ("127.0.0.1", "intruder/1")
    assert "wrong" not in json.dumps(event)


@pytest.mark.parametrize("header", ["", "Bearer " + SHARED_SECRET, "Bootstrap", f"Bootstrap {SHARED_SECRET}x"])
async def test_only_the_whole_secret_under_its_scheme_counts(identity: Identity, header: str) -> None:
    status, body = await identity.bootstrap("", BFF, **({"Authorization": header} if header else {}))
    assert _told((status, body)) == (401, "invalid_bootstrap_secret")


async def test_what_was_minted_and_what_was_refused_are_both_recorded(identity: Identity) -> None:
    minted = (await identity.bootstrap(SHARED_SECRET, BFF))[1]
    await identity.rows.revoke(minted["identityId"])
    await identity.bootstrap(SHARED_SECRET, BFF)
    events = [(event["outcome"], event["failureReason"]) for event in await identity.trail("node_token_minted")]
    assert events == [("success", ""), ("blocked", "credential_revoked")]


# --- where a request comes from -------------------------------------------------------------------------------------


def proxies(*networks: str) -> Any:
    import ipaddress

    return tuple(ipaddress.ip_network(one) for one in networks)


class FakeTransport:
    def __init__(self, peer: str, *, tls: bool = False) -> None:
        self.peer, self.tls = peer, tls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.peer, 1), "sslcontext": object() if self.tls else None}.get(name, default)

    def is_closing(self) -> bool:
        return False


def request(peer: str, headers: Mapping[str, str] | None = None, *, tls: bool = False) -> Any:
    return make_mocked_request("POST", "/", headers=headers or {}, transport=FakeTransport(peer, tls=tls))


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("203.0.113.9", "", (), "203.0.113.9"),
        ("203.0.113.9", "10.0.0.1", (), "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9", ("10.0.0.0/8",), "203.0.113.9"),
        # What the caller put on the left is not believed.
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", ("10.0.0.0/8",), "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", ("10.0.0.0/8",), "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ("10.0.0.0/8",), "10.0.0.3"),
        ("10.0.0.1", "junk", ("10.0.0.0/8",), "junk"),
        ("fd00::1", "2001:db8::1", ("fd00::/8",), "2001:db8::1"),
    ],
)
def test_the_caller_is_the_nearest_address_that_is_no_trusted_proxy(
    peer: str, forwarded: str, trusted: tuple[str, ...], expected: str
) -> None:
    given = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_ip(request(peer, given), proxies(*trusted)) == expected


def test_a_request_is_secure_over_tls_or_when_a_trusted_proxy_says_so() -> None:
    trusted = proxies("10.0.0.0/8")
    assert is_secure(request("203.0.113.9", tls=True), ())
    assert not is_secure(request("203.0.113.9"), trusted)
    assert is_secure(request("10.0.0.1", {"X-Forwarded-Proto": "https"}), trusted)
    assert not is_secure(request("10.0.0.1", {"X-Forwarded-Proto": "https, http"}), trusted)
    assert not is_secure(request("203.0.113.9", {"X-Forwarded-Proto": "https"}), trusted)
    assert not is_secure(request("10.0.0.1"), trusted)


@settings(deadline=None)
@given(st.lists(st.ip_addresses().map(str) | st.text("abc .,", max_size=5), max_size=5))
def test_whatever_is_forwarded_an_untrusted_peer_is_the_caller(hops: list[str]) -> None:
    assert (
        client_ip(request("203.0.113.9", {"X-Forwarded-For": ",".join(hops)}), proxies("10.0.0.0/8")) == "203.0.113.9"
    )


async def test_the_hatch_opens_for_this_machine_only(dsn: str, tmp_path: Path) -> None:
    given = {"IDENTITY_TRUSTED_PROXY_CIDRS": "127.0.0.0/8"}
    async with identity_node(dsn, tmp_path, given) as identity:
        away = {"X-Forwarded-For": "203.0.113.9"}
        assert _told(await identity.bootstrap(SHARED_SECRET, BFF, **away)) == (403, "insecure_transport")
        status, _ = await identity.bootstrap(SHARED_SECRET, BFF, **away, **{"X-Forwarded-Proto": "https"})
        assert status == 200


# --- the node's side ------------------------------------------------------------------------------------------------


def node_settings(base: str, secret: str = SHARED_SECRET, **more: str) -> Any:
    return load_settings(
        {
            "IDENTITY_VERIFIER_BASE_URL": base,
            "MEMQL_NODE_BOOTSTRAP_TOKEN": secret,
            **{name: value for name, value in more.items() if value},
        }
    )


async def test_a_node_fetches_its_credential(identity: Identity) -> None:
    token = await bootstrap_node_token(node_settings(identity.http), "bff-0", "bff")
    assert token.expires_at > datetime.now(UTC)
    assert (await verified(identity, token.token)).node_id == "bff-0"
    assert token.token not in repr(token)


async def test_a_node_fetches_its_credential_over_tls(dsn: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("identity")
    given = {
        "MEMQL_HTTP_TLS_CERT_FILE": str(pair.certificate),
        "MEMQL_HTTP_TLS_KEY_FILE": str(pair.key),
        "MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP": "0",
    }
    async with identity_node(dsn, tmp_path, given) as identity:
        base = f"https://localhost:{identity.node.server.http_address.port}"
        knows = node_settings(base, IDENTITY_VERIFIER_CA_FILE=str(authority.file))
        assert (await bootstrap_node_token(knows, "bff-0", "bff")).token
        with pytest.raises(MemqlError) as error:
            await bootstrap_node_token(node_settings(base), "bff-0", "bff")
        assert error.value.code is Code.UNAVAILABLE


async def code_of(settings: Any, node_id: str = "bff-0", node_type: str = "bff") -> tuple[Code, bool]:
    with pytest.raises(MemqlError) as error:
        await bootstrap_node_token(settings, node_id, node_type)
    return error.value.code, error.value.retryable


async def test_every_refusal_has_a_code_that_says_whether_to_try_again(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = identity.http
    assert await code_of(node_settings(base, "wrong-" + "w" * 40)) == (Code.UNAUTHENTICATED, False)
    assert await code_of(node_settings(base), node_type="identity") == (Code.INVALID_ARGUMENT, False)
    assert await code_of(node_settings("", "")) == (Code.CONFIG_INVALID, False)
    assert await code_of(node_settings("http://127.0.0.1:1")) == (Code.UNAVAILABLE, True)
    assert await code_of(node_settings(f"{base}/elsewhere")) == (Code.UNAVAILABLE, True)
    token = await bootstrap_node_token(node_settings(base), "bff-0", "bff")
    claims = await verified(identity, token.token)
    await identity.rows.revoke(claims.credential_id)
    assert await code_of(node_settings(base)) == (Code.FORBIDDEN, False)


async def test_where_it_is_disabled_a_node_is_told(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path, {"MEMQL_NODE_BOOTSTRAP_TOKEN": ""}) as identity:
        assert (await code_of(node_settings(identity.http)))[0] is Code.FAILED_PRECONDITION
