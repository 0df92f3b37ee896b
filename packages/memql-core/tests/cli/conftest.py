"""Running ``memql`` in this process and as a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from memql.cli.app import run
from memql.cli.running import find_running
from memql.graph.embedded import EmbeddedServer

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


@dataclass
class UpNode:
    """A ``memql up`` in a process of its own, with what it wrote to stderr so far."""

    process: subprocess.Popen[str]
    home: Path
    environment: dict[str, str]
    lines: list[str] = field(default_factory=list)
    greeted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self) -> None:
        """Take what the process writes, until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("Ctrl-C stops"):
                self.greeted.set()
        self.process.stderr.close()
        self.greeted.set()

    @property
    def grpc(self) -> str:
        """Where it listens."""
        node = find_running(self.home)
        assert node is not None, "".join(self.lines)
        return node.grpc

    @property
    def http(self) -> str:
        """Where HTTP and WebSocket listen."""
        node = find_running(self.home)
        assert node is not None, "".join(self.lines)
        return node.http

    def kill(self) -> None:
        """End it without a word."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and give its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.listener.join(10)
        return code


@pytest.fixture
def start_up() -> Iterator[Callable[..., UpNode]]:
    """Start further nodes; those that still run at the end of the test are killed."""
    with ExitStack() as started:
        yield lambda home, dsn, *options: started.enter_context(running_node(home, dsn, *options))


@contextmanager
def running_node(home: Path, dsn: str, *options: str) -> Iterator[UpNode]:
    """A ``memql up`` that has greeted; killed at the end if it still runs."""
    node = start_node(home, dsn, *options)
    try:
        assert node.greeted.wait(60), "".join(node.lines)
        assert node.process.poll() is None, "".join(node.lines)
        yield node
    finally:
        if node.process.poll() is None:
            node.kill()


def start_node(home: Path, dsn: str, *options: str) -> UpNode:
    """Start ``memql up``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMQL_", "IDENTITY_", "MEMORY_NODES_", "SERVER_"))
    }
    environment = {**kept, "MEMQL_HOME": str(home), "MEMQL_DATABASE_DSN": dsn, "MEMQL_SHUTDOWN_BUDGET": "5s"}
    process = subprocess.Popen(
        [sys.executable, "-m", "memql", "up", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return UpNode(process, home, environment)


@pytest.fixture(scope="module")
def up(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpNode]:
    """One node for the tests of a module, with the worked examples' tree."""
    name = f"memql_up_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        home = tmp_path_factory.mktemp("up")
        with running_node(home, postgres.dsn_of(name), "--tree", str(OPS_TREE)) as node:
            yield node
            if node.process.poll() is None:
                node.stop()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def at_node(up: UpNode, memql_process: Memql, monkeypatch: pytest.MonkeyPatch) -> Memql:
    """Run command lines as somebody who sits beside the node.

    Each in a process of its own: gRPC's poller is one per process and outlives the event loop of a command, and what
    comes late for a closed loop would fail whatever test runs next.
    """
    monkeypatch.setenv("MEMQL_HOME", str(up.home))
    monkeypatch.setenv("MEMQL_DATABASE_DSN", up.environment["MEMQL_DATABASE_DSN"])
    return memql_process
