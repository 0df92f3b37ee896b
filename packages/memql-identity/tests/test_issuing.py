"""Minting and revoking: a token, its row and its audit event come about together, and end together."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from identity_system import BASE, Identity, identity_node

from memql.auth import system
from memql.auth.claims import TokenClass
from memql.auth.credentials import CredentialStore
from memql.auth.schemes import hash_of
from memql.auth.standing import Credential
from memql.auth.verifier import TokenVerifier
from memql.engine.write import GraphWriter
from memql.errors import Code, MemqlError
from memql.identity.issuing import CredentialRevokedError, NodeRequest
from memql.identity.minting import random_secret

pytestmark = pytest.mark.anyio
BY = system("system:test-cli")
HOUR = timedelta(hours=1)


@pytest.fixture
async def identity(dsn: str, tmp_path: Path) -> AsyncIterator[Identity]:
    async with identity_node(dsn, tmp_path) as running:
        yield running


async def claims_of(identity: Identity, token: str) -> Any:
    return await TokenVerifier(identity.ring, issuer=BASE).verify(token)


async def refusal(identity: Identity, token: str) -> Any:
    claims = await claims_of(identity, token)
    return (await CredentialStore(identity.node.database).standing(Credential.of(claims))).refusal


async def test_a_user_gets_a_token_with_a_session_of_its_own(identity: Identity) -> None:
    user = await identity.rows.user("ada", role="writer", lastName="Lovelace", revocationEpoch=4)
    minted = await identity.issuing.mint_user("ADA@example.com", HOUR, by=BY, client="a test")
    claims = await claims_of(identity, minted.token)
    assert (claims.subject, claims.session_id, claims.token_class) == (user, minted.id, TokenClass.USER)
    assert (claims.email, claims.given_name, claims.family_name) == ("ada@example.com", "Ada", "Lovelace")
    assert (claims.role, claims.epoch, claims.expires_at) == ("writer", 4, minted.expires_at)
    assert "class" not in claims.raw
    assert "partitions" not in claims.raw
    session = await identity.row(minted.id)
    assert (session["tokenHash"], session["clientLabel"]) == (hash_of(minted.token), "a test")
    assert minted.token not in json.dumps(session)
    assert await refusal(identity, minted.token) is None
    (event,) = await identity.trail("session_created")
    assert (event["actorUserId"], event["targetId"]) == ("system:test-cli", minted.id)


async def test_a_personal_access_token_is_kept_as_its_hash(identity: Identity) -> None:
    user = await identity.rows.user("ada")
    minted = await identity.issuing.mint_pat(user, "laptop", timedelta(days=90), by=BY)
    store = CredentialStore(identity.node.database)
    credential = await store.find_pat(minted.token)
    assert credential is not None
    assert (credential.user_id, credential.credential_id) == (user, minted.id)
    row = await identity.row(minted.id)
    assert row["label"] == "laptop"
    assert minted.token not in json.dumps(row)
    assert [event["action"] for event in await identity.trail()] == ["pat_created"]


async def test_a_service_account_has_a_row_that_can_revoke_it(identity: Identity) -> None:
    minted = await identity.issuing.mint_service_account("gate", "system:deploy-gate", HOUR, by=BY)
    claims = await claims_of(identity, minted.token)
    assert (claims.subject, claims.node_id, claims.credential_id) == ("system:deploy-gate", "gate", minted.id)
    assert claims.role == "service_account"
    assert await refusal(identity, minted.token) is None
    await identity.issuing.revoke(minted.id, by=BY)
    assert await refusal(identity, minted.token) is not None
    assert [event["action"] for event in await identity.trail()] == [
        "service_account_token_minted",
        "service_account_revoked",
    ]


async def test_every_class_can_be_revoked_by_its_row(identity: Identity) -> None:
    await identity.rows.user("ada")
    issuing = identity.issuing
    minted = [
        await issuing.mint_user("ada", HOUR, by=BY, client="t"),
        await issuing.mint_node(NodeRequest(node_id="n", node_type="bff", minted_by="t"), by=BY),
        await issuing.mint_voice_agent("v", HOUR, by=BY, minted_by="t"),
        await issuing.mint_service_account("g", "system:g", HOUR, by=BY),
    ]
    for one in minted:
        assert await refusal(identity, one.token) is None
        # A bare id will do.
        assert await issuing.revoke(one.id.rpartition(":")[2], by=BY) == one.id
        assert await refusal(identity, one.token) is not None


async def test_a_revoked_machine_gets_nothing_until_somebody_allows_it_again(identity: Identity) -> None:
    request = NodeRequest(node_id="n", node_type="bff", minted_by="t")
    minted = await identity.issuing.mint_node(request, by=BY)
    await identity.issuing.revoke(minted.id, by=BY)
    with pytest.raises(CredentialRevokedError) as error:
        await identity.issuing.mint_node(request, by=BY)
    assert error.value.code is Code.CONFLICT
    again = NodeRequest(node_id="n", node_type="bff", minted_by="t", reactivate=True)
    assert (await identity.issuing.mint_node(again, by=BY)).id == minted.id


async def test_there_is_no_token_without_its_event(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    await identity.rows.user("ada")
    insert = GraphWriter.insert

    async def no_audit(self: GraphWriter, concept: str, *args: Any, **options: Any) -> Any:
        if concept.endswith("auditEvent"):
            raise MemqlError(Code.UNAVAILABLE, "no audit")
        return await insert(self, concept, *args, **options)

    monkeypatch.setattr(GraphWriter, "insert", no_audit)
    for work in (
        identity.issuing.mint_user("ada", HOUR, by=BY, client="t"),
        identity.issuing.mint_pat("ada", "l", HOUR, by=BY),
        identity.issuing.mint_service_account("g", "system:g", HOUR, by=BY),
        identity.issuing.mint_voice_agent("v", HOUR, by=BY, minted_by="t"),
    ):
        with pytest.raises(MemqlError, match="no audit"):
            await work
    count = await identity.node.database.fetch_one(
        "SELECT count(*) FROM memory_heads WHERE concept IN ('v1:identity:identity', 'v1:identity:authSession')"
    )
    assert count == (0,)


@pytest.mark.parametrize(
    ("kind", "life"),
    [("user", timedelta(days=2)), ("user", timedelta(0)), ("pat", timedelta(days=366)), ("service", timedelta(days=2))],
)
async def test_a_life_out_of_bounds_is_refused(identity: Identity, kind: str, life: timedelta) -> None:
    await identity.rows.user("ada")
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "user": lambda: identity.issuing.mint_user("ada", life, by=BY, client="t"),
        "pat": lambda: identity.issuing.mint_pat("ada", "l", life, by=BY),
        "service": lambda: identity.issuing.mint_service_account("g", "system:g", life, by=BY),
    }
    with pytest.raises(MemqlError) as error:
        await works[kind]()
    assert error.value.code is Code.INVALID_ARGUMENT


async def test_nobody_and_suspended_people_get_nothing(identity: Identity) -> None:
    await identity.rows.user("eve", suspendedAt=datetime.now(UTC).isoformat())
    for user, code in (("nobody", Code.NOT_FOUND), ("eve@example.com", Code.FAILED_PRECONDITION)):
        with pytest.raises(MemqlError) as error:
            await identity.issuing.mint_user(user, HOUR, by=BY, client="t")
        assert error.value.code is code
    with pytest.raises(MemqlError) as error:
        await identity.issuing.revoke("nowhere", by=BY)
    assert error.value.code is Code.NOT_FOUND


def test_secrets_have_their_prefix_and_forty_three_characters_after_it() -> None:
    assert len(random_secret("mql_pat_")) == 8 + 43
    assert random_secret() != random_secret()
