from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from memql.cli.running import find_running

OPS_TREE = Path(__file__).parent.parent / "trees" / "ops"
JOB = 'mutationCreateJob({customerId: "acme", title: $title})'


def test_up_greets_with_its_addresses_and_things_to_try(up: Any) -> None:
    text = "".join(up.lines)
    assert "memQL is ready after" in text
    assert up.grpc in text
    assert re.search(r": \d+ concepts, \d+ queries", text)
    assert "memql query" in text


def test_queries_show_a_table_or_json(at_node: Any) -> None:
    written = at_node("query", JOB, "-v", "title=Boiler")
    assert written.code == 0, written.err
    assert "wrote v1:ops:job:" in written.err
    table = at_node("query", 'queryJobs({customerId: "acme"})')
    assert table.out.splitlines()[0].split() == ["id", "title", "status", "priority"]
    assert "Boiler" in table.out
    rows = json.loads(at_node("query", 'queryJobs({customerId: "acme"})', "--json").out)
    assert {"title": "Boiler", "status": "open", "priority": 3}.items() <= rows[0].items()
    raw = json.loads(at_node("query", "concept==v1:ops:job", "--raw").out)
    assert raw["meta"]["count"] == len(raw["nodes"])


def test_a_query_that_matches_nothing_is_no_error(at_node: Any) -> None:
    outcome = at_node("query", "concept==v1:ops:route")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.startswith("0 rows")


def test_a_syntax_error_shows_the_place(at_node: Any) -> None:
    outcome = at_node("query", "concept == v1:ops:job && (")
    assert outcome.code == 1
    assert outcome.err.startswith("error SYNTAX_ERROR: ")


def test_a_misspelt_name_comes_with_a_hint(at_node: Any) -> None:
    outcome = at_node("query", "queryJob({})")
    assert outcome.code == 1
    assert "UNKNOWN_FUNCTION" in outcome.err
    assert "queryJobs" in outcome.err


def test_query_text_is_read_from_standard_input(up: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "memql", "query", "-", "--json"],
        input="concept==v1:ops:route",
        capture_output=True,
        text=True,
        env=up.environment,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_events_stream_as_json_lines_and_an_import_is_seen(up: Any, at_node: Any, tmp_path: Path) -> None:
    arguments = ("v1:ops:job", "--json", "--count", "3")
    with watching(up, *arguments) as watcher:
        assert at_node("query", JOB, "-v", "title=Watched").code == 0
        rows = tmp_path / "jobs.csv"
        rows.write_text("key,customerId,title\nimported-1,acme,One\nimported-2,acme,Two\n")
        imported = at_node("import", "v1:ops:job", str(rows), "--id", "key")
        assert imported.code == 0, imported.err
        out, _ = watcher.communicate(timeout=30)
    events = [json.loads(line) for line in out.splitlines()]
    assert watcher.returncode == 0
    assert [event["payload"]["payload"]["title"] for event in events] == ["Watched", "One", "Two"]
    assert {event["topic"] for event in events} == {"graph.node.created.v1:ops:job"}
    assert events[-1]["cursor"]


def test_an_interrupted_subscription_ends_quietly(up: Any) -> None:
    with watching(up) as watcher:
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    assert "Traceback" not in err


@contextmanager
def watching(up: Any, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A ``memql subscribe`` that has subscribed."""
    with subprocess.Popen(
        [sys.executable, "-m", "memql", "subscribe", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=up.environment,
    ) as watcher:
        try:
            assert watcher.stderr is not None
            assert "subscribed" in watcher.stderr.readline()
            yield watcher
        finally:
            watcher.kill()


def test_an_automation_runs_by_hand(at_node: Any) -> None:
    outcome = at_node("run-automation", "sweepOverdue", "--json")
    assert outcome.code == 0, outcome.err
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert events[0]["kind"] == "accepted"
    assert events[-1]["kind"] == "complete"


def test_an_unknown_automation_is_refused(at_node: Any) -> None:
    outcome = at_node("run-automation", "nothingLikeIt")
    assert outcome.code == 1
    assert outcome.err.startswith("error ")
    assert "nothingLikeIt" in outcome.err


def test_variables_are_set_and_listed(at_node: Any) -> None:
    assert at_node("variable", "set", "OPS_GRACE_DAYS", "3").code == 0
    listed = json.loads(at_node("variable", "list", "--json").out)
    assert {"name": "OPS_GRACE_DAYS", "value": "3"}.items() <= listed[0].items()


def test_secrets_are_sealed_and_listed_by_fingerprint(up: Any, at_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without_key = _set_secret(up.environment, "s3cr3t-value")
    assert without_key.returncode == 1
    assert "MEMQL_MASTER_KEY" in without_key.stderr
    key = {"MEMQL_MASTER_KEY": "ab" * 32}
    assert _set_secret({**up.environment, **key}, "s3cr3t-value").returncode == 0
    listed = at_node("secret", "list")
    assert "...alue" in listed.out
    assert "s3cr3t" not in listed.out


GRAPH_MANIFEST = """
secrets:
  - {name: DOOR_KEY, scope: global, kind: integration, description: opens the door}
  - {name: CAR_KEY, scope: partition, optional: true}
  - {name: NODE_ONLY}
variables:
  - {name: DOOR_COLOUR, scope: global, default: red}
"""


def test_secrets_and_variables_are_seeded_and_sealed_away_again(
    up: Any, at_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMQL_MASTER_KEY", "ab" * 32)
    manifest, source, sealed = tmp_path / "manifest.yaml", tmp_path / "source.env", tmp_path / "values.znas"
    manifest.write_text(GRAPH_MANIFEST)
    monkeypatch.setenv("MEMQL_MANIFEST_PATH", str(manifest))
    source.write_text("CAR_KEY=brum\nSTRANGER=x\n")
    lacking = at_node("secret", "seed", "--env-file", str(source))
    assert lacking.code == 1
    assert "DOOR_KEY missing" in lacking.err
    source.write_text("DOOR_KEY='open sesame'\nCAR_KEY=brum\nSTRANGER=x\n")
    seeded = at_node("secrets", "seed", "--env-file", str(source))
    assert (seeded.code, seeded.out) == (0, "DOOR_KEY set\nCAR_KEY set\nDOOR_COLOUR set\n"), seeded.err
    assert at_node("variable", "set", "DOOR_COLOUR", "blue").code == 0
    assert at_node("secret", "seed", "--env-file", str(source)).out == "DOOR_KEY kept\nCAR_KEY kept\nDOOR_COLOUR kept\n"
    rows = {row["name"]: row for row in json.loads(at_node("secret", "list", "--json").out)}
    assert (rows["DOOR_KEY"]["kind"], rows["DOOR_KEY"]["partition"]) == ("integration", False)
    assert rows["CAR_KEY"]["partition"] is True

    exported = at_node("secret", "export", "--out", str(sealed))
    assert exported.code == 0, exported.err
    assert "sesame" not in exported.out + exported.err
    shown = at_node("genesis", "open", str(sealed), "--reveal").out
    assert 'DOOR_KEY="open sesame"\n' in shown
    assert "DOOR_COLOUR=blue\n" in shown
    assert "CAR_KEY" not in shown
    again = at_node("secret", "seed", "--envelope", str(sealed), "--overwrite")
    assert again.out == "DOOR_KEY set\nDOOR_COLOUR set\n"
    monkeypatch.setenv("MEMQL_MASTER_KEY", "cd" * 32)
    assert at_node("secret", "export", "--out", str(tmp_path / "other.znas")).code == 1


def _set_secret(environment: dict[str, str], value: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memql", "secret", "set", "VENDOR_KEY"],
        input=value,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def test_the_doctor_sees_a_healthy_machine(at_node: Any) -> None:
    outcome = at_node("doctor", "--json")
    verdicts = {one["check"]: one["verdict"] for one in json.loads(outcome.out)}
    assert outcome.code == 0
    assert {"tree": "ok", "database": "ok", "node": "ok"}.items() <= verdicts.items()


def test_migrate_finds_nothing_left_to_do(at_node: Any) -> None:
    outcome = at_node("migrate")
    assert (outcome.code, outcome.out) == (0, "")
    assert "up to date" in outcome.err


def test_a_stopped_node_exits_well_and_is_forgotten(up: Any) -> None:
    """The last test of this module: it stops the module's node."""
    assert up.stop(signal.SIGTERM) == 0
    assert find_running(up.home) is None


def test_up_refuses_a_broken_tree_with_its_findings(
    anyio_backend: str, dsn: str, clean_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memql: Any
) -> None:
    broken = tmp_path / "tree" / "shop"
    broken.mkdir(parents=True)
    (broken / "concepts.memql").write_text("concept job { title strin! }")
    monkeypatch.setenv("MEMQL_DATABASE_DSN", dsn)
    outcome = memql("up", "--tree", str(broken.parent), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert outcome.code == 1
    assert "error TREE_REFUSED" in outcome.err
    assert "unknown-type" in outcome.err
