"""The unattended claim: once, by one replica, and never again."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest
from identity_system import OWNER, Identity, identity_node

from memql.identity.first_owner import claim_cluster

pytestmark = pytest.mark.anyio


async def owners(identity: Identity) -> list[tuple[str, str]]:
    rows = await identity.node.database.fetch(
        "SELECT id, payload ->> 'primaryEmail' FROM memory_heads "
        "WHERE concept = 'v1:identity:user' AND payload ->> 'role' = 'owner'"
    )
    return [(row[0], row[1]) for row in rows]


async def test_a_new_cluster_gets_its_owner_and_its_settings(dsn: str, tmp_path: Path) -> None:
    more = {
        "IDENTITY_BOOTSTRAP_ORG_NAME": "Analytical Engines",
        "IDENTITY_BOOTSTRAP_OWNER_PHONE": "+4930123456",
        "IDENTITY_BOOTSTRAP_INTERNAL_DOMAINS": "example.com, example.org",
    }
    async with identity_node(dsn, tmp_path, {**OWNER, **more}) as identity:
        ((owner, email),) = await owners(identity)
        assert email == "ada@example.com"
        person = await identity.row(owner)
        assert (person["displayName"], person["internal"], person["phone"]) == ("Ada Lovelace", True, "+4930123456")
        settings = await identity.row("v1:identity:clusterSettings:cluster")
        assert (settings["clusterDomain"], settings["registrationMode"]) == ("example.com", "invite_only")
        assert (settings["brandName"], settings["internalDomains"]) == ("Analytical Engines", "example.com,example.org")
        assert settings["bootstrappedAt"]
        assert [event["action"] for event in await identity.trail()] == ["user_registered", "settings_changed"]
        assert {event["actorUserId"] for event in await identity.trail()} == {"system:cluster-bootstrap"}


async def test_it_happens_once_whatever_is_asked_for_later(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path, OWNER) as identity:
        first = await owners(identity)
    other = {**OWNER, "IDENTITY_BOOTSTRAP_OWNER_EMAIL": "eve@example.com"}
    async with identity_node(dsn, tmp_path, other) as identity:
        assert await owners(identity) == first
        # Not even when that owner is gone: the stamp stays.
        await identity.rows.change(first[0][0], active=False)
        assert await claim_cluster(identity.settings, identity.node.engine.writer) is None


async def test_a_cluster_with_an_owner_is_not_claimed(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        grace = await identity.rows.user("grace", role="owner")
    async with identity_node(dsn, tmp_path, OWNER) as identity:
        assert [owner for owner, _ in await owners(identity)] == [grace]


async def test_of_several_replicas_one_claims(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        settings = type(identity.settings).model_validate(
            {
                "bootstrap_domain": "example.com",
                "bootstrap_owner_email": "ada@example.com",
                "bootstrap_owner_first_name": "Ada",
                "bootstrap_owner_last_name": "Lovelace",
                "bootstrap_registration_mode": "open",
            }
        )
        claimed: list[str | None] = []

        async def claim() -> None:
            claimed.append(await claim_cluster(settings, identity.node.engine.writer))

        async with anyio.create_task_group() as replicas:
            for _ in range(8):
                replicas.start_soon(claim)
        assert len([owner for owner in claimed if owner is not None]) == 1
        assert len(await owners(identity)) == 1
        assert len(await identity.trail("settings_changed")) == 1


async def test_a_person_who_is_there_already_becomes_the_owner(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        ada = await identity.rows.user("ada", phone="+4930")
    async with identity_node(dsn, tmp_path, OWNER) as identity:
        assert [owner for owner, _ in await owners(identity)] == [ada]
        assert (await identity.row(ada))["phone"] == "+4930"
        assert [event["action"] for event in await identity.trail()] == ["role_changed", "settings_changed"]


async def test_half_a_request_claims_nothing_and_is_told(
    dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = {name: value for name, value in OWNER.items() if not name.endswith("LAST_NAME")}
    with caplog.at_level(logging.WARNING):
        async with identity_node(dsn, tmp_path, half) as identity:
            assert not await owners(identity)
    assert "IDENTITY_BOOTSTRAP_OWNER_LAST_NAME missing" in caplog.text


async def test_the_owner_gets_the_seeds_of_a_user(dsn: str, tmp_path: Path) -> None:
    notes = tmp_path / "tree" / "notes"
    notes.mkdir(parents=True)
    (notes / "concepts.memql").write_text(
        "@rowAuthz(owner=ownerUserId)\nconcept note {\n  ownerUserId string!\n  text string\n}\n"
    )
    (notes / "seeds.memql").write_text(
        'use notes.concepts.{ note }\n\n@enabled @scope("perUser")\nseed note welcome {\n  text: "hello"\n}\n'
    )
    async with identity_node(dsn, tmp_path, {**OWNER, "MEMQL_DSL_PATH": str(tmp_path / "tree")}) as identity:
        ((owner, _),) = await owners(identity)
        found = await identity.node.database.fetch(
            "SELECT payload ->> 'ownerUserId' FROM memory_heads WHERE concept = 'v1:notes:note'"
        )
        assert found == [(owner,)]
