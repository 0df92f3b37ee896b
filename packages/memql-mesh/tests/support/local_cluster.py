"""``memql cluster`` as its user runs it: a home, a terminal beside it, real processes on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from memql.cli.connection import Server
from memql.cli.running import find_running
from memql.graph.embedded import EmbeddedServer
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.processes import identify
from memql.mesh.cluster.state import ClusterState, NodeState, read_state

TREE = Path(__file__).parent.parent / "cluster" / "tree"
SECONDS = 120
_SETTINGS = ("MEMQL_", "IDENTITY_", "MEMORY_NODES_", "SERVER_")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def require(self) -> Outcome:
        """This, when the command has done what it was told to."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass
class Terminal:
    """A terminal on a home; ``more`` are variables that are set in it."""

    home: Path
    more: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Its environment: no setting from outside."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        return {**kept, "MEMQL_HOME": str(self.home), **self.more}

    @property
    def place(self) -> Place:
        """Where the cluster of the home keeps its things."""
        return Place(self.home)

    def memql(self, *arguments: str, stdin: str = "", seconds: float = SECONDS) -> Outcome:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "memql", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=self.environment,
            cwd=self.home,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def cluster(self, *arguments: str) -> Outcome:
        """``memql cluster ...``."""
        return self.memql("cluster", *arguments)

    def rows(self, text: str, *options: str) -> list[Any]:
        """The rows of a query, put to what runs here."""
        rows: list[Any] = json.loads(self.memql("query", "--json", text, *options).require().out)
        return rows

    def state(self) -> ClusterState:
        """The state of the cluster that runs."""
        state = read_state(self.place)
        assert state is not None
        return state

    def node(self, node_id: str) -> NodeState:
        """A node of it."""
        return self.state().find(node_id)

    def status(self) -> dict[str, dict[str, Any]]:
        """The nodes by their ids, as ``memql cluster status --json`` shows them."""
        shown = json.loads(self.cluster("status", "--json").out)
        return {node["id"]: node for node in shown["nodes"]}

    def server(self, node_id: str = "") -> Server:
        """How to connect to one of the nodes, or to the cluster."""
        running = find_running(self.home)
        assert running is not None
        return Server(
            address=running.nodes[node_id] if node_id else running.grpc,
            token=Path(running.token_file).read_text().strip(),
            ca_file=Path(running.ca_file) if running.ca_file else None,
        )

    def environment_of(self, node_id: str) -> dict[str, str]:
        """The environment of a running node's process."""
        process = self.node(node_id).process
        assert process is not None
        pairs = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for other processes until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


@contextmanager
def terminal(home: Path, **more: str) -> Iterator[Terminal]:
    """A terminal on a home; what still runs there at the end is killed."""
    home.mkdir(parents=True, exist_ok=True)
    opened = Terminal(home, more)
    try:
        yield opened
    finally:
        _kill_all(opened)


def _kill_all(opened: Terminal) -> None:
    with suppress(Exception):
        opened.cluster("down")
    state = read_state(opened.place)
    if state is not None:
        state.supervisor.signal(signal.SIGKILL)
        for node in state.running_nodes():
            if node.process is not None:
                node.process.signal(signal.SIGKILL)


@contextmanager
def reachable_home() -> Iterator[Path]:
    """A home in which a server that is started by root can run as another account: nobody closes a directory above it,
    as test runs do with those that they keep their files in."""
    with tempfile.TemporaryDirectory(prefix="memql-cluster-", ignore_cleanup_errors=True) as directory:
        yield Path(directory) / "home"


@contextmanager
def fresh_database(postgres: EmbeddedServer) -> Iterator[str]:
    """The connection string of an empty database of the tests' server."""
    name = f"memql_cluster_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield postgres.dsn_of(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    return identify(pid) is None
