"""Who may open NodeService.Stream: one table of what is shown and how it is answered."""

from __future__ import annotations

from typing import Any

import pytest
from issuer_system import ISSUER, Keys, Rows, Signer

from memql.auth.credentials import CredentialStore
from memql.auth.nodes import verify_node
from memql.auth.verifier import TokenVerifier
from memql.errors import Code, MemqlError
from memql.graph.database import Database

pytestmark = pytest.mark.anyio
SIGNER = Signer()
SECRET = "A" * 43
VERIFIER = TokenVerifier(Keys(SIGNER.public), issuer=ISSUER)


def node_token(row: str, **claims: Any) -> str:
    said = {"class": "node", "sub": row, "cid": row, "sid": None, "node_id": "bff-0", "node_type": "bff", **claims}
    return SIGNER.token(**said)


async def outcome(database: Database, authorization: str) -> str:
    try:
        await verify_node(authorization, verifier=VERIFIER, credentials=CredentialStore(database))
    except MemqlError as error:
        return error.code.value
    return "ok"


async def test_a_node_with_an_active_row_comes_in(database: Database, rows: Rows) -> None:
    row = await rows.node("bff-0", "bff")
    claims = await verify_node(f"Bearer {node_token(row)}", verifier=VERIFIER, credentials=CredentialStore(database))
    assert (claims.node_id, claims.node_type, claims.credential_id) == ("bff-0", "bff", row)


UA, PD = "UNAUTHENTICATED", "FORBIDDEN"


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("", UA),
        ("Bearer junk", UA),
        ("Basic dTpw", UA),
        (f"Bearer mql_pat_{SECRET}", PD),
        (f"Bearer mql_wkr_{SECRET}", PD),
        (f"Worker mql_wkr_{SECRET}", PD),
        (f"Guest {SECRET}", PD),
        ("Operator secret", UA),
        ("Bootstrap secret", UA),
        ("Pair ABCD-EFGH", UA),
    ],
)
async def test_what_is_no_token_is_answered_by_its_kind(database: Database, authorization: str, expected: str) -> None:
    assert await outcome(database, authorization) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": 1}, UA),
        ({"iss": "https://evil.test"}, UA),
        ({"aud": "other"}, UA),
        ({"class": "unheard-of"}, UA),
        ({"class": None, "sid": "s1"}, PD),
        ({"class": "voice_agent"}, PD),
        ({"class": "service_account"}, PD),
        ({"node_id": None}, PD),
        ({"node_type": None}, PD),
        ({"cid": None}, PD),
        ({"node_id": "bff-1"}, PD),
        ({"node_type": "agent"}, PD),
        ({"cid": "v1:identity:identity:nowhere"}, PD),
    ],
)
async def test_a_token_that_is_not_this_nodes_is_refused(
    database: Database, rows: Rows, claims: dict[str, Any], expected: str
) -> None:
    row = await rows.node("bff-0", "bff")
    assert await outcome(database, f"Bearer {node_token(row, **claims)}") == expected


async def test_a_key_nobody_knows_is_unauthenticated(database: Database) -> None:
    assert await outcome(database, f"Bearer {Signer().token()}") == UA


async def test_a_revoked_node_is_told_that_another_token_would_not_help(database: Database, rows: Rows) -> None:
    row = await rows.node("bff-0", "bff")
    await rows.revoke(row)
    assert await outcome(database, f"Bearer {node_token(row)}") == PD


async def test_a_failing_look_up_is_unauthenticated(
    database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await rows.node("bff-0", "bff")

    async def broken(*args: Any, **options: Any) -> list[Any]:
        raise MemqlError(Code.UNAVAILABLE, "the database is away")

    monkeypatch.setattr(Database, "fetch", broken)
    assert await outcome(database, f"Bearer {node_token(row)}") == UA
