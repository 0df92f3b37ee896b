"""What the database says about credentials: who counts, for how long an answer is kept, and what a failure does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from issuer_system import Rows

from memql.auth.credentials import CACHE_SECONDS, ROLE_SECONDS, CredentialStore
from memql.auth.refusals import Cause
from memql.auth.standing import (
    IDENTITY_CONCEPT,
    SESSION_CONCEPT,
    USER_CONCEPT,
    Credential,
    IdentityRow,
    Row,
    SessionRow,
    UserRow,
    judge,
    read_row,
)
from memql.auth.surfaces import CredentialKind
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.indexes import ensure_indexes
from memql.lang.catalog import Catalog

pytestmark = pytest.mark.anyio
PAT = "mql_pat_" + "p" * 43
NOW = datetime(2026, 3, 1, tzinfo=UTC)

ADA = UserRow(
    id=f"{USER_CONCEPT}:ada", suspended=False, role="writer", epoch=2, email="", first_name="", last_name="", phone=""
)
SESSION = SessionRow(id=f"{SESSION_CONCEPT}:s1", user_id=ADA.id, identity_id="", revoked=False)
KEY = IdentityRow(
    id=f"{IDENTITY_CONCEPT}:k1", type="api_key", user_id=ADA.id, active=True, node_id="", node_type="", expires_at=None
)
NODE = replace(KEY, type="node_token", user_id="")
SIGNED_IN = Credential(kind=CredentialKind.USER, user_id=ADA.id, session_id=SESSION.id, epoch=2)
BY_KEY = Credential(kind=CredentialKind.PAT, user_id=ADA.id, credential_id=KEY.id)
MACHINE = Credential(kind=CredentialKind.NODE, credential_id=KEY.id)


def rows_of(*rows: Row) -> Mapping[str, Row]:
    return {row.id: row for row in rows}


@pytest.mark.parametrize(
    ("credential", "rows", "refusal"),
    [
        (SIGNED_IN, [ADA, SESSION], None),
        (replace(SIGNED_IN, epoch=3), [ADA, SESSION], None),
        (replace(SIGNED_IN, epoch=1), [ADA, SESSION], Cause.EPOCH),
        (SIGNED_IN, [SESSION], Cause.USER),
        (SIGNED_IN, [replace(ADA, suspended=True), SESSION], Cause.USER),
        (SIGNED_IN, [ADA], Cause.SESSION),
        (SIGNED_IN, [ADA, replace(SESSION, revoked=True)], Cause.SESSION),
        (SIGNED_IN, [ADA, replace(SESSION, user_id="v1:identity:user:eve")], Cause.SESSION),
        (BY_KEY, [ADA, KEY], None),
        (BY_KEY, [ADA], Cause.REVOKED),
        (BY_KEY, [ADA, replace(KEY, active=False)], Cause.REVOKED),
        (BY_KEY, [ADA, NODE], Cause.REVOKED),
        (BY_KEY, [replace(ADA, suspended=True), KEY], Cause.USER),
        (BY_KEY, [ADA, replace(KEY, expires_at=NOW)], Cause.EXPIRED),
        (BY_KEY, [ADA, replace(KEY, expires_at=NOW + timedelta(seconds=1))], None),
        (MACHINE, [NODE], None),
        (MACHINE, [], Cause.REVOKED),
        (MACHINE, [replace(NODE, active=False)], Cause.REVOKED),
        (MACHINE, [KEY], Cause.REVOKED),
        # The row of a machine says when its latest token ends; an earlier token has its own end.
        (MACHINE, [replace(NODE, expires_at=NOW - timedelta(days=1))], None),
    ],
)
def test_a_credential_is_judged_by_its_rows(credential: Credential, rows: list[Row], refusal: Cause | None) -> None:
    assert judge(credential, rows_of(*rows), NOW).refusal is refusal


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["active", "userId", "identityType", "credentials", "revokedAt", "role", "suspendedAt"]),
        st.sampled_from([None, "", False, True, "x"]),
    )
)
def test_a_row_with_little_in_it_is_read_all_the_same(payload: dict[str, Any]) -> None:
    payload["credentials"] = None
    for concept in (USER_CONCEPT, SESSION_CONCEPT, IDENTITY_CONCEPT):
        assert read_row(f"{concept}:x", concept, payload) is not None
    assert read_row("v1:ops:job:x", "v1:ops:job", payload) is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def signed_in(rows: Rows) -> Credential:
    user = await rows.user("ada", role="writer")
    return Credential(kind=CredentialKind.USER, user_id=user, session_id=await rows.session("s1", user), epoch=0)


async def test_a_signed_in_user_stands_with_role_and_name(database: Database, rows: Rows) -> None:
    standing = await CredentialStore(database).standing(await signed_in(rows))
    assert standing.refusal is None
    assert standing.user is not None
    assert (standing.user.role, standing.user.email, standing.user.first_name) == ("writer", "ada@example.com", "Ada")


async def test_a_revocation_is_seen_within_five_seconds_and_a_role_within_two(database: Database, rows: Rows) -> None:
    clock = Clock()
    store, credential = CredentialStore(database, clock), await signed_in(rows)
    await store.standing(credential)
    await rows.revoke(credential.session_id)
    await rows.change(credential.user_id, role="admin")
    kept = await store.standing(credential)
    assert kept.refusal is None
    clock.now = ROLE_SECONDS
    fresh = await store.standing(credential)
    assert fresh.user is not None
    assert fresh.user.role == "admin"
    clock.now = CACHE_SECONDS
    assert (await store.standing(credential)).refusal is Cause.SESSION
    assert ROLE_SECONDS < 2 < CACHE_SECONDS <= 5


async def test_a_look_of_the_watch_counts_for_openings_too(database: Database, rows: Rows) -> None:
    store, credential = CredentialStore(database, Clock()), await signed_in(rows)
    await store.standing(credential)
    await rows.revoke(credential.session_id)
    await store.refresh(credential.row_ids)
    assert (await store.standing(credential)).refusal is Cause.SESSION


async def test_a_row_that_is_deleted_or_never_was_is_revoked(database: Database, rows: Rows) -> None:
    nowhere = Credential(kind=CredentialKind.NODE, credential_id=f"{IDENTITY_CONCEPT}:none")
    assert (await CredentialStore(database).standing(nowhere)).refusal is Cause.REVOKED


async def test_a_personal_access_token_is_found_by_its_hash(database: Database, rows: Rows) -> None:
    user = await rows.user("ada")
    identity = await rows.pat(PAT, user, expiresAt="")
    store = CredentialStore(database)
    credential = await store.find_pat(PAT)
    assert credential == Credential(kind=CredentialKind.PAT, user_id=user, credential_id=identity)
    assert (await store.standing(credential)).refusal is None
    assert await store.find_pat("mql_pat_" + "q" * 43) is None


async def test_one_without_a_user_is_nobodys(database: Database, rows: Rows) -> None:
    await rows.pat(PAT, "")
    store = CredentialStore(database)
    credential = await store.find_pat(PAT)
    assert credential is not None
    assert (await store.standing(credential)).refusal is Cause.USER


async def test_tokens_are_found_through_an_index(database: Database, packaged: Catalog) -> None:
    await ensure_indexes(database, packaged.concepts.values())
    plan = await database.fetch(
        "EXPLAIN SELECT id FROM memory_heads WHERE concept = 'v1:identity:identity' AND NOT deleted "
        "AND ((payload #>> '{credentials,keyHash}') COLLATE \"C\") = 'x'"
    )
    assert "memql_field_v1_identity_identity_credentials_keyhash" in " ".join(row[0] for row in plan)


async def test_a_failure_is_not_kept(database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    store, credential = CredentialStore(database), await signed_in(rows)

    async def broken(*args: Any, **options: Any) -> list[Any]:
        raise MemqlError(Code.UNAVAILABLE, "the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "fetch", broken)
        with pytest.raises(MemqlError, match="away"):
            await store.standing(credential)
    assert (await store.standing(credential)).refusal is None


async def test_a_cluster_is_claimed_by_an_owner_or_by_its_settings(database: Database, rows: Rows) -> None:
    assert not await CredentialStore(database).is_claimed()
    owner = await rows.user("grace", role="owner")
    assert await CredentialStore(database).is_claimed()
    await rows.change(owner, active=False)
    assert not await CredentialStore(database).is_claimed()
