"""The identity role as a node: it verifies with its own keys, and admits fewer on MemqlService."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import aiohttp
import anyio
import grpc
import pytest
from identity_system import BASE, identity_environment, identity_node, trusted_identity
from trusted_system import Trusted, environment

from memql.auth import system
from memql.auth.surfaces import MATRIX, CredentialKind, Surface
from memql.config.loading import load_settings
from memql.errors import Code, MemqlError
from memql.identity.role import IdentityRole
from memql.node import Node, open_node
from memql.server.no_auth import LocalOwner
from memql.wire.messages import ClientHello, MyAccessMsg

pytestmark = pytest.mark.anyio


def expected(kind: CredentialKind, surface: Surface) -> str:
    if kind is CredentialKind.GUEST and MATRIX[kind, surface].value == "ok":
        return "UNAUTHENTICATED"
    return {"ok": "ok", "unauthenticated": "UNAUTHENTICATED", "forbidden": "FORBIDDEN"}[MATRIX[kind, surface].value]


async def test_every_kind_of_credential_is_admitted_or_refused_as_the_matrix_says(dsn: str, tmp_path: Path) -> None:
    async with trusted_identity(dsn, tmp_path) as trusted:
        seen, wanted = {}, {}
        for kind, authorization in trusted.callers.shown().items():
            seen[kind, "grpc"] = await trusted.over_grpc(authorization)
            seen[kind, "ws"] = await trusted.over_websocket(authorization)
            seen[kind, "query"] = await trusted.over_http(authorization)
            wanted[kind, "grpc"] = expected(kind, Surface.ISSUER_MEMQL_SERVICE)
            wanted[kind, "ws"] = wanted[kind, "query"] = expected(kind, Surface.WEB)
        assert seen == wanted


async def test_what_it_mints_it_accepts_and_what_it_revokes_ends(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        await identity.rows.user("ada", role="admin")
        by = system("system:test")
        minted = await identity.issuing.mint_user("ada", timedelta(minutes=5), by=by, client="t")
        trusted = Trusted(identity.node, None)  # type: ignore[arg-type]
        async with trusted.connect(f"Bearer {minted.token}") as wire:
            await wire.send(ClientHello())
            await wire.receive("server_hello")
            await wire.send(MyAccessMsg())
            assert (await wire.message("my_access_result")).primary_email == "ada@example.com"
            await identity.issuing.revoke(minted.id, by=by)
            with anyio.fail_after(5):
                assert await trusted.ending(wire) is grpc.StatusCode.UNAUTHENTICATED


async def test_another_node_verifies_its_tokens_over_http(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        await identity.rows.user("ada", role="admin")
        minted = await identity.issuing.mint_user("ada", timedelta(minutes=5), by=system("system:t"), client="t")
        given = {
            "IDENTITY_VERIFIER_BASE_URL": identity.http,
            "IDENTITY_VERIFIER_EXPECTED_ISSUER": BASE,
            "MEMQL_NODE_ID": "bff-0",
        }
        async with open_node(load_settings(environment(dsn, tmp_path, **given)), roles=[]) as node:
            assert node.trust is not None
            with anyio.fail_after(20):
                while not node.trust.verifier.keys.ready:  # noqa: ASYNC110  fetched in the background
                    await anyio.sleep(0.01)
            trusted = Trusted(node, None)  # type: ignore[arg-type]
            assert await trusted.over_grpc(f"Bearer {minted.token}") == "ok"
            await identity.issuing.revoke(minted.id, by=system("system:t"))
            with anyio.fail_after(10):
                while await trusted.over_grpc(f"Bearer {minted.token}") == "ok":  # noqa: ASYNC110  cached a moment
                    await anyio.sleep(0.1)


async def test_it_is_ready_with_its_keys_and_is_no_mesh_worker(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        _, _, body = await identity.get("/readyz")
        assert {"name": "verifier_keys", "ready": True} in body["checks"]
        assert identity.node.companion is None
        assert not identity.role.mesh_worker


async def test_without_a_name_to_issue_in_it_runs_for_its_own_developer_only(dsn: str, tmp_path: Path) -> None:
    nameless = {"IDENTITY_BASE_URL": "-"}
    async with identity_node(dsn, tmp_path, nameless) as identity:
        assert isinstance(identity.node.authenticator, LocalOwner)
        assert identity.node.trust is None
        async with aiohttp.ClientSession() as http, http.get(f"{identity.http}/.well-known/jwks.json") as response:
            assert response.status == 404
    with pytest.raises(MemqlError) as error:
        async with identity_node(dsn, tmp_path, {**nameless, "MEMQL_ENVIRONMENT": "staging"}):
            raise AssertionError
    assert error.value.code is Code.CONFIG_INVALID
    assert "IDENTITY_BASE_URL" in error.value.message


async def test_a_wrong_secret_stops_the_start_before_anything_is_opened(tmp_path: Path) -> None:
    first = {"IDENTITY_KEY_ENCRYPTION_KEY": "the first long secret"}
    IdentityRole().issuer(load_settings(identity_environment("", tmp_path, first)))
    nowhere = "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"
    second = {"IDENTITY_KEY_ENCRYPTION_KEY": "the second long secret"}
    with pytest.raises(MemqlError, match="not the secret"):
        async with identity_node(nowhere, tmp_path, second):
            raise AssertionError


async def test_the_single_process_system_can_issue_too(dsn: str, tmp_path: Path) -> None:
    settings = load_settings(identity_environment(dsn, tmp_path, {"MEMQL_NODE_TYPE": "bff"}))
    role = IdentityRole()
    async with open_node(settings, roles=[role], everything=True) as node:
        assert node.identity.type == "bff"
        assert isinstance(node, Node)
        trusted = Trusted(node, None)  # type: ignore[arg-type]
        assert await trusted.over_grpc("") == "UNAUTHENTICATED"
        # It is more than the identity service: voice agents come in as on any other node.
        assert role._service is not None
        by = system("system:test")
        voice = await role._service.issuing.mint_voice_agent("v", timedelta(hours=1), by=by, minted_by="t")
        assert await trusted.over_grpc(f"Bearer {voice.token}") == "ok"
