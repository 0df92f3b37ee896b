"""Running ``memql`` in this process and as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memql.cli.app import run

OPS_TREE = Path(__file__).parent.parent / "trees" / "ops"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Memql = Callable[..., Outcome]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting from outside; the home of this test is returned."""
    for name in list(os.environ):
        if name.startswith(("MEMQL_", "IDENTITY_", "MEMORY_NODES_", "SERVER_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("MEMQL_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def memql(clean_environment: Path, capsys: pytest.CaptureFixture[str]) -> Memql:
    """Run a command line in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def memql_process(clean_environment: Path) -> Memql:
    """Run a command line as a child process, with ``stdin`` if given."""

    def call(*arguments: str, stdin: str = "") -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "memql", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def ops_tree() -> Iterator[str]:
    yield str(OPS_TREE)
