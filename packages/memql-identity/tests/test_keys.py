"""Signing keys: on disk sealed and private, or the same on every replica from the environment."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity_system import issuer_settings, seed_text

from memql.auth.keys import read_key_set
from memql.errors import Code, MemqlError
from memql.identity.guards import check_issuer, is_local_url
from memql.identity.key_files import KeyFiles
from memql.identity.keyring import load_keys
from memql.identity.sealing import seal, unseal
from memql.identity.signing_key import SigningKey

pytestmark = pytest.mark.anyio
SECRET = "a secret that is long enough"


def refused(work: Any, *args: Any) -> str:
    with pytest.raises(MemqlError) as error:
        work(*args)
    assert error.value.code is Code.CONFIG_INVALID
    return error.value.message


# --- sealing --------------------------------------------------------------------------------------------------------


def test_what_was_sealed_opens_under_its_secret_only() -> None:
    sealed = seal(b"key bytes", SECRET)
    assert unseal(sealed, SECRET) == b"key bytes"
    assert "IDENTITY_KEY_ENCRYPTION_KEY" in refused(unseal, sealed, "another secret that is long")


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(["encSalt", "encNonce", "encPayload"]), st.integers(min_value=0, max_value=15))
def test_a_changed_file_does_not_open(member: str, at: int) -> None:
    sealed = seal(b"key bytes", SECRET)
    text = sealed[member]
    sealed[member] = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    refused(unseal, sealed, SECRET)


@pytest.mark.parametrize(
    "kdf",
    [
        {"name": "pbkdf2", "passes": 2, "memoryBytes": 67108864},
        {"name": "argon2id", "passes": 0, "memoryBytes": 67108864},
        {"name": "argon2id", "passes": 2, "memoryBytes": 2**40},
        {"name": "argon2id"},
        "argon2id",
    ],
)
def test_parameters_out_of_bounds_are_not_run(kdf: Any) -> None:
    assert "malformed" in refused(unseal, {**seal(b"x", SECRET), "kdf": kdf}, SECRET)


# --- files ----------------------------------------------------------------------------------------------------------


def files(directory: Path, secret: str = SECRET, *, plaintext: bool = False) -> KeyFiles:
    store = KeyFiles(directory, secret, plaintext_allowed=plaintext)
    store.prepare()
    return store


def test_a_key_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store, key = files(tmp_path / "keys"), SigningKey.generate()
    store.write("current", replace(key, retires_at=datetime.now(UTC)))
    back = store.read("current")
    assert back is not None
    assert (back.seed, back.kid, back.created_at) == (key.seed, key.kid, key.created_at)
    assert back.retires_at is not None
    assert store.read("next") is None


def test_files_are_for_their_owner_only_and_hold_no_clear_key(tmp_path: Path) -> None:
    store, key = files(tmp_path / "keys"), SigningKey.generate()
    store.write("current", key)
    path = tmp_path / "keys/jwt-current.ed25519"
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    members = json.loads(path.read_text())
    assert members.keys() >= {
        "version",
        "kid",
        "createdAt",
        "retiresAt",
        "publicB64",
        "encSalt",
        "encNonce",
        "encPayload",
    }
    assert "privateB64" not in members
    assert [name.name for name in (tmp_path / "keys").iterdir()] == ["jwt-current.ed25519"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    store = files(tmp_path / "keys")
    store.write("current", SigningKey.generate())
    (tmp_path / "keys/jwt-current.ed25519").chmod(0o644)
    assert "chmod 600" in refused(store.read, "current")


def test_a_wrong_secret_is_told(tmp_path: Path) -> None:
    files(tmp_path / "keys").write("current", SigningKey.generate())
    assert "not the secret" in refused(files(tmp_path / "keys", "another long secret").read, "current")
    assert "is not set" in refused(files(tmp_path / "keys", "", plaintext=True).read, "current")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "createdAt": "x", "privateB64": "AA"}', "\xff"])
def test_a_malformed_file_is_named(tmp_path: Path, content: str) -> None:
    store = files(tmp_path / "keys")
    path = tmp_path / "keys/jwt-current.ed25519"
    path.write_text(content)
    path.chmod(0o600)
    assert "jwt-current.ed25519" in refused(store.read, "current")


def test_an_unsealed_key_is_for_development_and_is_sealed_once_there_is_a_secret(tmp_path: Path) -> None:
    key = SigningKey.generate()
    files(tmp_path / "keys", "", plaintext=True).write("current", key)
    path = tmp_path / "keys/jwt-current.ed25519"
    assert "privateB64" in path.read_text()
    assert "IDENTITY_KEY_ENCRYPTION_KEY" in refused(files, tmp_path / "keys", "")
    back = files(tmp_path / "keys").read("current")
    assert back is not None
    assert back.kid == key.kid
    assert "privateB64" not in path.read_text()


def test_of_several_processes_that_start_first_one_makes_the_key(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent / "support")!r})
from pathlib import Path
from memql.config.loading import load_settings
from memql.identity.keyring import load_keys
print(load_keys(load_settings()).current.kid)
"""
    variables = {
        **os.environ,
        "MEMQL_ENVIRONMENT": "development",
        "IDENTITY_BASE_URL": "http://localhost",
        "IDENTITY_KEY_DIR": str(tmp_path / "keys"),
    }
    started = [
        subprocess.Popen([sys.executable, "-c", program], env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    kids = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(kids) == 1
    assert "" not in kids


# --- the ring -------------------------------------------------------------------------------------------------------


def test_keys_on_disk_outlive_the_process(tmp_path: Path) -> None:
    settings = issuer_settings(tmp_path)
    first = load_keys(settings)
    assert (first.mode, first.rotates) == ("disk", True)
    assert load_keys(settings).current.kid == first.current.kid


async def test_a_rotation_that_stopped_half_way_is_taken_up_again(tmp_path: Path) -> None:
    settings = issuer_settings(tmp_path)
    ring = load_keys(settings)
    await ring.stage()
    before = ring.current
    store = files(tmp_path / "keys", "", plaintext=True)
    # The first of the two steps of a promotion, and then the process died.
    store.write("previous", replace(before, retires_at=datetime.now(UTC) + timedelta(hours=1)))
    again = load_keys(settings)
    assert (again.current.kid, again.previous) == (before.kid, None)
    assert again.following is not None
    await again.promote(datetime.now(UTC) + timedelta(hours=1))
    last = load_keys(settings)
    assert last.previous is not None
    assert (last.previous.kid, last.current.kid, last.following) == (before.kid, again.current.kid, None)


async def test_every_step_of_a_rotation_publishes_what_verifiers_need(tmp_path: Path) -> None:
    ring = load_keys(issuer_settings(tmp_path))
    old = ring.current.kid
    await ring.stage()
    assert ring.following is not None
    new = ring.following.kid
    assert [*read_key_set(ring.jwks())] == [old, new]
    assert ring.current.kid == old
    await ring.promote(datetime.now(UTC) + timedelta(hours=1))
    assert ring.current.kid == new
    assert {*read_key_set(ring.jwks())} == {old, new}
    assert await ring.find(old) is not None
    await ring.retire()
    assert {*read_key_set(ring.jwks())} == {new}
    assert await ring.find(old) is None


async def test_a_retired_key_is_no_longer_published_even_before_it_is_swept(tmp_path: Path) -> None:
    ring = load_keys(issuer_settings(tmp_path))
    old = ring.current.kid
    await ring.stage()
    await ring.promote(datetime.now(UTC) - timedelta(seconds=1))
    assert await ring.find(old) is None
    assert old not in read_key_set(ring.jwks())


def test_replicas_with_one_seed_publish_the_same_keys(tmp_path: Path) -> None:
    seeds = {
        "IDENTITY_SIGNING_KEY_B64": seed_text(),
        "IDENTITY_SIGNING_KEY_NEXT_B64": seed_text(),
        "IDENTITY_SIGNING_KEY_PREVIOUS_B64": seed_text(),
    }
    one, other = (load_keys(issuer_settings(tmp_path / name, seeds)) for name in ("one", "other"))
    assert one.jwks() == other.jwks()
    assert one.current.kid == other.current.kid
    assert one.fingerprint == other.fingerprint
    assert len(one.jwks()["keys"]) == 3
    assert (one.mode, one.rotates) == ("env", False)
    assert not (tmp_path / "one").exists()


async def test_keys_of_the_environment_are_not_rotated_here(tmp_path: Path) -> None:
    ring = load_keys(issuer_settings(tmp_path, {"IDENTITY_SIGNING_KEY_B64": seed_text()}))
    with pytest.raises(MemqlError) as error:
        await ring.stage()
    assert error.value.code is Code.FAILED_PRECONDITION
    assert "IDENTITY_SIGNING_KEY_NEXT_B64" in error.value.message


def test_swapping_next_and_current_keeps_every_token_valid(tmp_path: Path) -> None:
    """The procedure of the environment: publish next, roll; swap, roll; drop previous."""
    old, new = seed_text(), seed_text()
    steps = [
        {"IDENTITY_SIGNING_KEY_B64": old},
        {"IDENTITY_SIGNING_KEY_B64": old, "IDENTITY_SIGNING_KEY_NEXT_B64": new},
        {"IDENTITY_SIGNING_KEY_B64": new, "IDENTITY_SIGNING_KEY_PREVIOUS_B64": old},
    ]
    rings = [load_keys(issuer_settings(tmp_path, step)) for step in steps]
    # A verifier is at most one step behind or ahead of whoever signs.
    for signing, verifying in ((0, 1), (1, 0), (1, 2), (2, 1), (2, 2)):
        assert rings[signing].current.kid in read_key_set(rings[verifying].jwks())


def test_one_key_twice_is_refused(tmp_path: Path) -> None:
    seed = seed_text()
    given = {"IDENTITY_SIGNING_KEY_B64": seed, "IDENTITY_SIGNING_KEY_PREVIOUS_B64": seed}
    assert "different keys" in refused(load_keys, issuer_settings(tmp_path, given))


# --- guards ---------------------------------------------------------------------------------------------------------

AWAY = {"IDENTITY_BASE_URL": "https://identity.example.com", "MEMQL_ENVIRONMENT": "production"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (AWAY, "IDENTITY_SIGNING_KEY_B64"),
        ({**AWAY, "IDENTITY_ALLOW_EPHEMERAL_KEY": "true"}, "IDENTITY_KEY_ENCRYPTION_KEY"),
        ({"IDENTITY_REGISTRATION_MODE": "domain_restricted"}, "IDENTITY_REGISTRATION_DOMAINS"),
        ({"MEMQL_NODE_BOOTSTRAP_TOKEN": "short"}, "32 characters"),
    ],
)
def test_what_must_not_start_does_not(tmp_path: Path, given: dict[str, str], reason: str) -> None:
    assert reason in refused(check_issuer, issuer_settings(tmp_path, given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {**AWAY, "IDENTITY_SIGNING_KEY_B64": seed_text()},
        {**AWAY, "IDENTITY_ALLOW_EPHEMERAL_KEY": "true", "IDENTITY_KEY_ENCRYPTION_KEY": SECRET},
        {"IDENTITY_REGISTRATION_MODE": "domain_restricted", "IDENTITY_REGISTRATION_DOMAINS": "example.com"},
    ],
)
def test_what_may_start_does(tmp_path: Path, given: dict[str, str]) -> None:
    check_issuer(issuer_settings(tmp_path, given))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IDENTITY_BASE_URL", "identity:8085"),
        ("IDENTITY_BASE_URL", "/identity"),
        ("IDENTITY_SIGNING_KEY_B64", "c2hvcnQ="),
        ("IDENTITY_SIGNING_KEY_B64", "not base64!"),
        ("IDENTITY_KEY_ENCRYPTION_KEY", "short"),
        ("IDENTITY_REGISTRATION_MODE", "everybody"),
        ("IDENTITY_RISK_THRESHOLD", "101"),
        ("IDENTITY_REGISTERED_CLIENTS", '[{"clientId": "web", "redirectURIs": ["https://*.example.com"]}]'),
        ("IDENTITY_NODE_BOOTSTRAP_TOKENS", '{"agent": "short"}'),
        ("IDENTITY_NODE_BOOTSTRAP_TOKENS", json.dumps({"agent": "s" * 32, "bff": "s" * 32})),
        ("IDENTITY_TRUSTED_PROXY_CIDRS", "10.0.0.0/99"),
    ],
)
def test_malformed_settings_of_the_issuer_are_named(tmp_path: Path, name: str, value: str) -> None:
    assert name in refused(issuer_settings, tmp_path, {name: value})


def test_a_base_url_loses_its_last_slash(tmp_path: Path) -> None:
    assert (
        issuer_settings(tmp_path, {"IDENTITY_BASE_URL": "https://a.example/"}).identity_base_url == "https://a.example"
    )


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8085", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:8085", True),
        ("http://0.0.0.0:8085", True),
        ("http://identity.localhost", True),
        ("http://identity.local", True),
        ("https://identity.example.com", False),
        ("https://localhost.example.com", False),
        ("https://10.0.0.1", False),
    ],
)
def test_what_counts_as_this_machine(url: str, local: bool) -> None:
    assert is_local_url(url) is local


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(seed=st.binary(min_size=32, max_size=32), created=st.datetimes(min_value=datetime(2000, 1, 1)))
def test_any_key_survives_its_file(tmp_path: Path, seed: bytes, created: datetime) -> None:
    store = files(tmp_path / "keys", "", plaintext=True)
    key = SigningKey(seed, created.replace(tzinfo=UTC))
    store.write("current", key)
    assert store.read("current") == key
