from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEY = "ab" * 32
TEXT = "# shared\nMEMQL_REGION=eu\nexport TOKEN='a longer secret'\n"


MANIFEST = """
secrets:
  - name: TOKEN
    component: core
    kind: vendor_api_key
    required: [all]
    description: opens a door
  - name: EXTRA
    optional: true
variables:
  - name: MEMQL_REGION
  - name: LEVEL
    default: "3"
"""


@pytest.fixture(autouse=True)
def manifest(clean_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest that these texts satisfy, in force."""
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    monkeypatch.setenv("MEMQL_MANIFEST_PATH", str(path))
    return path


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "shared.env"
    path.write_text(TEXT)
    return path


def test_the_first_sealing_makes_a_key_and_shows_it_once(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "genesis.znas"
    sealed = memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out))
    assert sealed.code == 0, sealed.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = re.fullmatch(r"MEMQL_MASTER_KEY=([0-9a-f]{64})\n", sealed.out)
    assert found is not None
    monkeypatch.setenv("MEMQL_MASTER_KEY", found[1])
    assert memql("genesis", "verify", str(out)).code == 0
    again = memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out))
    assert (again.code, again.out) == (0, "")


def test_opening_hides_values_unless_told(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    out = tmp_path / "genesis.znas"
    assert memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out)).code == 0
    shown = memql("genesis", "open", str(out))
    assert "TOKEN" in shown.out
    assert "longer secret" not in shown.out
    assert memql("genesis", "open", str(out), "--reveal").out == TEXT


def test_another_key_neither_opens_nor_replaces(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "genesis.znas"
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out))
    before = out.read_bytes()
    monkeypatch.setenv("MEMQL_MASTER_KEY", "cd" * 32)
    assert memql("genesis", "verify", str(out)).code == 1
    assert memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out)).code == 1
    assert out.read_bytes() == before


def test_the_environment_wins_over_the_envelope_and_env_tells_where_from(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "genesis.znas"
    env_file.write_text("MEMQL_REGION=eu\nMEMQL_NODE_FLAVOR=large\nTOKEN=t\n")
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out))
    monkeypatch.setenv("MEMQL_GENESIS_AUTOLOAD", "true")
    monkeypatch.setenv("MEMQL_GENESIS_PATH", str(out))
    monkeypatch.setenv("MEMQL_REGION", "us")
    rows = {row["name"]: row for row in json.loads(memql("env", "--format", "json").out)}
    assert (rows["MEMQL_REGION"]["value"], rows["MEMQL_REGION"]["source"]) == ("us", "process")
    assert (rows["MEMQL_NODE_FLAVOR"]["value"], rows["MEMQL_NODE_FLAVOR"]["source"]) == ("large", "genesis:path")
    assert rows["MEMQL_MASTER_KEY"]["value"] == "...abab"


def test_an_envelope_that_does_not_open_stops_the_start(memql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMQL_GENESIS_AUTOLOAD", "true")
    monkeypatch.setenv("MEMQL_GENESIS_B64", "bm90IGFuIGVudmVsb3Bl")
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    outcome = memql("run")
    assert outcome.code == 1
    assert outcome.err.startswith("error CONFIG_INVALID") or outcome.err.startswith("error ")


def test_env_checks_for_what_is_required(memql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = memql("env", "--check")
    assert missing.code == 1
    assert "missing: IDENTITY_VERIFIER_BASE_URL" in missing.err
    assert "missing: TOKEN" in missing.err
    monkeypatch.setenv("TOKEN", "t")
    assert "TOKEN" not in memql("env", "--check").err
    monkeypatch.setenv("MEMQL_ENVIRONMENT", "development")
    assert memql("env", "--check").code == 0


def test_secrets_are_revealed_on_a_terminal_only(memql: Any) -> None:
    outcome = memql("env", "--reveal")
    assert outcome.code == 1
    assert "FAILED_PRECONDITION" in outcome.err


def test_env_writes_what_was_given_as_a_dotenv(memql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMQL_REGION", "eu west")
    assert 'MEMQL_REGION="eu west"' in memql("env", "--format", "dotenv").out


def test_env_shows_the_configuration_of_a_role(memql: Any) -> None:
    (row,) = json.loads(memql("env", "--role", "voice", "--only", "NODE_TYPE", "--format", "json").out)
    assert (row["value"], row["source"]) == ("voice", "--role")


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_a_text_that_lacks_the_floor_is_not_sealed(memql: Any, env_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "genesis.znas"
    env_file.write_text("TOKEN=\nEXTRA=x\n")
    refused = memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out))
    assert (refused.code, refused.out, out.exists()) == (1, "", False)
    assert "TOKEN, MEMQL_REGION are missing" in refused.err
    assert "EXTRA" not in refused.err
    assert "LEVEL" not in refused.err


def test_the_manifest_is_the_given_one_else_the_named_one_else_the_packaged_one(
    memql: Any, env_file: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "genesis.znas")
    seal = ("genesis", "seal", "--env-file", str(env_file), "--out", out)
    assert f"manifest: MEMQL_MANIFEST_PATH {manifest}" in memql(*seal).err
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    env_file.write_text("A=1\n")
    assert f"manifest: --manifest {empty}" in memql(*seal, "--manifest", str(empty)).err
    monkeypatch.delenv("MEMQL_MANIFEST_PATH")
    packaged = memql(*seal)
    assert packaged.code == 1
    assert "manifest: packaged" in packaged.err
    assert "IDENTITY_SIGNING_KEY_B64" in packaged.err


@pytest.mark.parametrize(
    "text",
    [
        "secrets: [",
        "secrets: 5",
        "- a",
        "secrets: [{name: A, colour: red}]",
        "secrets: [{component: x}]",
        "secrets: [{name: 'A B'}]",
        "secrets: [{name: A, scope: nowhere}]",
        "secrets: [{name: A, kind: other}]",
        "secrets: [{name: A}]\nvariables: [{name: A}]",
        "other: []",
    ],
)
def test_what_is_no_manifest_is_refused(memql: Any, env_file: Path, manifest: Path, tmp_path: Path, text: str) -> None:
    manifest.write_text(text)
    out = str(tmp_path / "genesis.znas")
    outcome = memql("genesis", "seal", "--env-file", str(env_file), "--out", out)
    assert outcome.code == 1
    assert "CONFIG_INVALID" in outcome.err


def test_a_manifest_that_is_named_must_be_there(memql: Any, env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMQL_MANIFEST_PATH", "/nowhere/manifest.yaml")
    assert "cannot be read" in memql("genesis", "seal", "--env-file", str(env_file)).err


# --- the shell -------------------------------------------------------------------------------------------------------


def test_shells_are_left_alone_unless_told(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    out = str(tmp_path / "genesis.znas")
    assert memql("genesis", "seal", "--env-file", str(env_file), "--out", out).code == 0
    assert not (tmp_path / ".bashrc").exists()
    assert memql("genesis", "seal", "--env-file", str(env_file), "--out", out, "--sync-shell").code == 0
    assert f"export MEMQL_MASTER_KEY={KEY}\n" in (tmp_path / ".bashrc").read_text()


def test_a_new_shell_opens_the_envelope(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile"
    profile.write_text("export BEFORE=1")
    monkeypatch.setenv("MEMQL_MASTER_KEY", "cd" * 32)
    first = ("--out", str(tmp_path / "first.znas"), "--sync-shell", "--sync-source", str(profile))
    assert memql("genesis", "seal", "--env-file", str(env_file), *first).code == 0
    with profile.open("a") as more:
        more.write("export AFTER=1\n")
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    second = ("--out", str(tmp_path / "se'cond.znas"), "--sync-shell", "--sync-source", str(profile))
    assert memql("genesis", "seal", "--env-file", str(env_file), *second).code == 0
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    script = f'. "{profile}"; echo "$BEFORE $AFTER"; exec "{sys.executable}" -m memql env --only REGION --format dotenv'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert shell.stdout == "1 1\nMEMQL_REGION=eu\n"


def test_a_shell_without_a_known_start_up_file_needs_one_named(
    memql: Any, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    monkeypatch.setenv("MEMQL_MASTER_KEY", KEY)
    out = tmp_path / "genesis.znas"
    outcome = memql("genesis", "seal", "--env-file", str(env_file), "--out", str(out), "--sync-shell")
    assert outcome.code == 1
    assert "--sync-source" in outcome.err
    assert not out.exists()
