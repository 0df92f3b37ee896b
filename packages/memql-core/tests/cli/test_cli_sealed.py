from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

KEY = "ab" * 32
TEXT = "# shared\nMEMQL_REGION=eu\nexport TOKEN='a longer secret'\n"


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
    env_file.write_text("MEMQL_REGION=eu\nMEMQL_NODE_FLAVOR=large\n")
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
