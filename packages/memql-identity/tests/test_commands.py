"""The commands as child processes: one line out, a row behind it, and an exit code that tells."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from identity_system import identity_environment, identity_node, seed_text
from issuer_system import Rows
from trusted_system import Trusted

from memql.graph.database import Database
from memql.secrets import MasterKey, seal_file

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that was written."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return self.out.strip()


Memql = Callable[..., Outcome]


@pytest.fixture
def memql(dsn: str, tmp_path: Path) -> Memql:
    """Run a command line with the settings of an identity node; ``more`` are further variables."""

    def call(*arguments: str, stdin: str = "", more: Mapping[str, str] | None = None) -> Outcome:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEMQL_", "IDENTITY_"))}
        done = subprocess.run(
            [sys.executable, "-m", "memql", *arguments],
            env={**kept, **identity_environment(dsn, tmp_path, more)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


async def trail(database: Database) -> list[str]:
    found = await database.fetch(
        "SELECT payload ->> 'action' FROM memory_heads WHERE concept = 'v1:identity:auditEvent' ORDER BY seq"
    )
    return [action for (action,) in found]


@pytest.fixture
async def ada(dsn: str, tmp_path: Path) -> str:
    """A user whom the commands find."""
    async with identity_node(dsn, tmp_path) as identity:
        return await Rows(identity.node.engine.writer).user("ada", role="admin")


async def test_a_users_token_is_minted_inspected_and_revoked(memql: Memql, ada: str, database: Database) -> None:
    token = memql("token", "mint", "--class", "user", "--user", "ada@example.com").line
    shown = memql("token", "inspect", token)
    report = json.loads(shown.out)
    assert (shown.code, report["verdict"], report["class"]) == (0, "valid", "user")
    assert report["claims"]["sub"] == ada
    session = report["claims"]["sid"]
    assert memql("token", "revoke", "--id", session).line == session
    again = memql("token", "inspect", stdin=token)
    assert (again.code, json.loads(again.out)["verdict"]) == (1, "session")
    assert await trail(database) == ["session_created", "session_revoked"]


async def test_a_running_node_accepts_what_the_command_line_minted(
    memql: Memql, ada: str, dsn: str, tmp_path: Path
) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        trusted = Trusted(identity.node, None)  # type: ignore[arg-type]
        pat = memql("token", "mint", "--class", "pat", "--user", ada, "--label", "laptop").line
        assert pat.startswith("mql_pat_")
        assert await trusted.over_grpc(f"Bearer {pat}") == "ok"
        gate = memql("service-account-token", "mint", "--label", "gate").line
        assert await trusted.over_http(f"Bearer {gate}", "count v1:identity:user") == "ok"


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (("token", "mint", "--class", "node", "--node-id", "bff-0", "--node-type", "bff"), "node_token_minted"),
        (("node-token", "mint", "--node-id", "bff-0", "--node-type", "bff", "--ttl", "1h"), "node_token_minted"),
        (("token", "mint", "--class", "voice_agent", "--instance-id", "v-1"), "voice_agent_token_minted"),
        (("voice-agent-token", "mint", "--instance-id", "v-1", "--minted-by", "system:x"), "voice_agent_token_minted"),
        (("token", "mint", "--class", "service_account", "--label", "gate"), "service_account_token_minted"),
        (
            ("service-account-token", "mint", "--label", "gate", "--subject", "system:gate"),
            "service_account_token_minted",
        ),
    ],
)
async def test_machines_get_theirs_under_either_name(
    memql: Memql, database: Database, arguments: tuple[str, ...], action: str
) -> None:
    # A command migrates nothing: a schema that is behind is told.
    token = memql(*arguments).line
    assert json.loads(memql("token", "inspect", token).out)["verdict"] == "valid"
    assert await trail(database) == [action]
    count = await database.fetch_one("SELECT count(*) FROM memory_heads WHERE concept = 'v1:identity:identity'")
    assert count == (1,)


def test_out_writes_a_private_file_and_its_name(memql: Memql, tmp_path: Path) -> None:
    path = tmp_path / "node.token"
    path.write_text("old")
    path.chmod(0o644)
    assert memql("node-token", "mint", "--node-id", "n", "--node-type", "bff", "--out", str(path)).line == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().count(".") == 2


def test_a_revoked_node_is_minted_for_only_on_demand(memql: Memql) -> None:
    arguments = ("node-token", "mint", "--node-id", "n", "--node-type", "bff")
    token = memql(*arguments).line
    row = json.loads(memql("token", "inspect", token).out)["claims"]["cid"]
    memql("token", "revoke", "--id", row)
    refused = memql(*arguments)
    assert (refused.code, refused.out) == (1, "")
    assert "is revoked" in refused.err
    assert memql(*arguments, "--reactivate").line


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("token", "mint"), 2, "--class"),
        (("token", "mint", "--class", "king"), 2, "king"),
        (("token", "mint", "--class", "node", "--node-id", "n"), 2, "--node-type"),
        (("token", "mint", "--class", "user"), 2, "--user"),
        (("token", "mint", "--class", "user", "--user", "nobody"), 1, "there is no user"),
        (("token", "mint", "--class", "service_account", "--label", "g", "--ttl", "48h"), 1, "24 hours"),
        (("token", "mint", "--class", "service_account", "--label", "g", "--ttl", "soon"), 1, "--ttl"),
        (("token", "revoke", "--id", "nowhere"), 1, "nowhere"),
        (("token", "inspect", "junk"), 1, ""),
    ],
)
def test_what_fails_says_so_and_writes_no_token(memql: Memql, arguments: tuple[str, ...], code: int, text: str) -> None:
    outcome = memql(*arguments)
    assert outcome.code == code
    assert text in outcome.err
    assert "ey" not in outcome.out


def test_without_an_issuer_nothing_is_minted(memql: Memql) -> None:
    outcome = memql(
        "token", "mint", "--class", "node", "--node-id", "n", "--node-type", "bff", more={"IDENTITY_BASE_URL": "-"}
    )
    assert outcome.code == 1
    assert "IDENTITY_BASE_URL" in outcome.err


def test_the_keys_are_shown(memql: Memql) -> None:
    first = json.loads(memql("keys", "status", "--json").out)
    assert (first["mode"], [key["slot"] for key in first["keys"]]) == ("disk", ["current"])
    table = memql("keys", "status")
    assert first["keys"][0]["kid"] in table.out
    assert first["fingerprint"] in table.err
    seeds: dict[str, Any] = {
        "IDENTITY_SIGNING_KEY_B64": seed_text(),
        "IDENTITY_SIGNING_KEY_NEXT_B64": seed_text(),
        "IDENTITY_SIGNING_KEY_CREATED_AT": "2026-01-02T03:04:05Z",
    }
    second = json.loads(memql("keys", "status", "--json", more=seeds).out)
    assert (second["mode"], [key["slot"] for key in second["keys"]]) == ("env", ["current", "next"])
    assert second["keys"][0]["createdAt"].startswith("2026-01-02")


def test_the_signing_key_may_lie_in_the_envelope(memql: Memql, tmp_path: Path) -> None:
    key, envelope = MasterKey.generate(), tmp_path / "genesis.znas"
    seal_file(envelope, key, f"IDENTITY_SIGNING_KEY_B64={seed_text()}\n")
    more = {
        "MEMQL_MASTER_KEY": key.to_hex(),
        "MEMQL_GENESIS_AUTOLOAD": "true",
        "MEMQL_GENESIS_PATH": str(envelope),
    }
    assert json.loads(memql("keys", "status", "--json", more=more).out)["mode"] == "env"
    assert memql("node-token", "mint", "--node-id", "n", "--node-type", "bff", more=more).line
