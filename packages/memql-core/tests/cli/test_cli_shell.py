from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memql.cli.app import run
from memql.cli.boot import boot_layers, boot_settings
from memql.cli.connection import find_server
from memql.cli.live import parse_assignments
from memql.cli.output import cell
from memql.cli.running import announce, find_running
from memql.errors import Code, MemqlError


def test_help_names_every_command(memql: Any) -> None:
    outcome = memql("--help")
    assert outcome.code == 0
    for command in ("up", "run", "migrate", "check", "fmt", "query", "subscribe", "import", "run-automation", "env"):
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize(
    "command",
    ["up", "run", "migrate", "check", "fmt", "query", "subscribe", "import", "run-automation", "env", "doctor"],
)
def test_every_command_explains_itself(memql: Any, command: str) -> None:
    outcome = memql(command, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out


def test_help_imports_nothing_heavy() -> None:
    heavy = "pydantic grpc aiohttp lark psycopg msgspec rich.table anyio"
    program = f"""
import sys
from memql.cli.app import run
run(["--help"])
print([name for name in {heavy.split()!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_wrong_usage_exits_with_two_and_says_what_is_near(memql: Any) -> None:
    outcome = memql("quer")
    assert outcome.code == 2
    assert "query" in outcome.err
    assert outcome.out == ""


def test_an_error_is_one_line_with_its_code_on_stderr(memql: Any) -> None:
    outcome = memql("query", "x()", "--server", "127.0.0.1:1")
    assert outcome.code == 1
    assert outcome.err.startswith("error UNAVAILABLE: ")
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_debugging_shows_the_traceback(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMQL_DEBUG", "1")
    with pytest.raises(MemqlError):
        run(["query", "x()", "--server", "127.0.0.1:1"])


def test_the_module_runs_as_a_program(memql_process: Any) -> None:
    outcome = memql_process("version")
    assert outcome.code == 0
    assert outcome.out.startswith("memql-core ")


def test_a_malformed_setting_is_told_before_anything_runs(memql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMQL_GRPC_ADDRESS", "nowhere")
    outcome = memql("run")
    assert outcome.code == 1
    assert "error CONFIG_INVALID: MEMQL_GRPC_ADDRESS='nowhere'" in outcome.err


def test_a_dotenv_counts_only_in_explicit_development(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MEMQL_REGION=eu\n")
    assert boot_settings({}, tmp_path).region == "local"
    assert boot_settings({"MEMQL_ENVIRONMENT": "production"}, tmp_path).region == "local"
    settings = boot_settings({"MEMQL_ENVIRONMENT": "development", "MEMQL_REGION": "us"}, tmp_path)
    assert (settings.region, settings.source_of("region")) == ("eu", "dotenv")


def test_a_malformed_dotenv_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("not an assignment\n")
    with pytest.raises(MemqlError) as raised:
        boot_layers({"MEMQL_ENVIRONMENT": "development"}, tmp_path)
    assert raised.value.code is Code.CONFIG_INVALID


def test_variables_are_json_where_they_are_that() -> None:
    pairs = ["a=1", "b=text", 'c="1"', "d=[1,2]", "e=", "f=x=y"]
    assert parse_assignments(pairs) == {"a": 1, "b": "text", "c": "1", "d": [1, 2], "e": "", "f": "x=y"}
    with pytest.raises(MemqlError):
        parse_assignments(["nothing"])


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), ("a", "a"), (1, "1"), ({"a": [1]}, '{"a":[1]}'), (True, "true")]
)
def test_cells_are_compact(value: object, text: str) -> None:
    assert cell(value) == text


def test_a_node_is_found_while_it_runs(tmp_path: Path) -> None:
    with announce(tmp_path, grpc="127.0.0.1:1", http="127.0.0.1:2", trees=[Path("/t")]):
        node = find_running(tmp_path)
        assert node is not None
        assert (node.grpc, node.trees) == ("127.0.0.1:1", ("/t",))
    assert find_running(tmp_path) is None


def test_the_file_of_a_dead_node_does_not_count(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (tmp_path / "node.json").write_text(f'{{"pid":{child.pid},"grpc":"a","http":"b"}}')
    assert find_running(tmp_path) is None


@pytest.fixture
def announced(clean_environment: Path) -> Iterator[Path]:
    """A home where a cluster of two nodes with TLS runs; the file of its credential is returned."""
    token_file = clean_environment.parent / "owner.token"
    token_file.write_text("mql_pat_x\n")
    with announce(
        clean_environment,
        grpc="grpcs://127.0.0.1:1,grpcs://127.0.0.1:2",
        http="https://127.0.0.1:3",
        trees=[],
        nodes={"bff-1": "grpcs://127.0.0.1:1", "agent-1": "grpcs://127.0.0.1:9"},
        token_file=token_file,
        ca_file=Path("/ca.pem"),
    ):
        yield token_file


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, "grpcs://127.0.0.1:1,grpcs://127.0.0.1:2"),
        ("agent-1", "grpcs://127.0.0.1:9"),
        ("127.0.0.1:9", "grpcs://127.0.0.1:9"),
        ("grpcs://127.0.0.1:2", "grpcs://127.0.0.1:2"),
    ],
)
@pytest.mark.usefixtures("announced")
def test_what_runs_here_says_what_to_show_it_and_how_to_trust_it(given: str | None, address: str) -> None:
    server = find_server(given, None)
    assert (server.address, server.token, server.ca_file) == (address, "mql_pat_x", Path("/ca.pem"))


@pytest.mark.usefixtures("announced")
def test_a_stranger_is_shown_nothing_that_it_was_not_given() -> None:
    for stranger in ("127.0.0.1:10", "grpcs://elsewhere:1", "agent-2"):
        server = find_server(stranger, None)
        assert (server.address, server.token, server.ca_file) == (stranger, None, None)
    assert find_server("agent-1", "mine").token == "mine"


def test_a_credential_that_cannot_be_read_is_told(announced: Path) -> None:
    announced.unlink()
    with pytest.raises(MemqlError) as raised:
        find_server(None, None)
    assert raised.value.code is Code.CONFIG_INVALID
    assert find_server(None, "mine").token == "mine"
