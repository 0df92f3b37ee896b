"""What goes wrong with a cluster, and that it is told, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster import SECONDS, Terminal, fresh_database, is_gone, terminal, until

from memql.cli.running import announce
from memql.graph.embedded import EmbeddedServer
from memql.mesh.cluster.ports import is_free
from memql.mesh.cluster.processes import ProcessId
from memql.mesh.cluster.state import read_state, write_state

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

SMALL = ("--free-ports", "--only", "bff")
UP = ("up", "--detach", *SMALL)


@pytest.fixture
def here(postgres: EmbeddedServer, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal on an empty home and an empty database."""
    with fresh_database(postgres) as dsn, terminal(tmp_path / "home", MEMQL_DATABASE_DSN=dsn) as opened:
        yield opened


def kill_the_supervisor(here: Terminal) -> list[int]:
    """Kill it without a word; the processes of its nodes, which run on."""
    state = here.state()
    state.supervisor.signal(signal.SIGKILL)
    until(lambda: is_gone(state.supervisor.pid))
    return [node.process.pid for node in state.running_nodes() if node.process is not None]


def test_nodes_whose_supervisor_was_killed_are_told_of_and_ended_by_the_next_one(here: Terminal) -> None:
    here.cluster(*UP).require()
    left = kill_the_supervisor(here)
    assert len(left) == 2
    shown = here.cluster("status")
    assert shown.code == 1
    assert "has died: memql cluster up starts anew" in shown.err
    refused = here.cluster("kill", "bff-1")
    assert refused.code == 1
    assert "the supervisor of this cluster" in refused.err
    again = here.cluster(*UP).require()
    assert "has died; stopping what it left: identity-1, bff-1" in again.err
    assert all(map(is_gone, left))
    assert here.cluster("status").code == 0
    left = kill_the_supervisor(here)
    assert "stopping what it left" in here.cluster("down").require().err
    assert all(map(is_gone, left))
    assert here.cluster("status").code == 3


def test_a_process_that_has_the_id_of_a_node_that_is_gone_is_left_alone(here: Terminal) -> None:
    here.cluster(*UP).require()
    left = kill_the_supervisor(here)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(map(is_gone, left)))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as stranger:
        state = here.state()
        assert state.nodes[1].process is not None
        state.nodes[1].process = ProcessId(stranger.pid, state.nodes[1].process.started)
        write_state(here.place, state)
        assert here.cluster("down").code == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_tree_with_errors_is_told_and_nothing_runs(here: Terminal, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "broken.memql").write_text("concept broken {")
    for how in ("--detach", "--timeout=60"):
        refused = here.cluster("up", how, *SMALL, "--tree", str(tree))
        assert refused.code == 1
        assert "error FAILED_PRECONDITION: identity-1 did not start (failed with exit code 1)" in refused.err
        assert "error TREE_REFUSED: " in refused.err
        assert "broken.memql" in refused.err
        assert read_state(here.place) is None


def test_a_node_that_cannot_start_takes_down_what_was_started_before_it(here: Terminal) -> None:
    taken = {**here.more, "MEMQL_MESH_ROUTES": "nonsense"}
    refused = Terminal(here.home, taken).cluster(*UP)
    assert refused.code == 1
    assert "bff-1 did not start" in refused.err
    assert "MEMQL_MESH_ROUTES" in refused.err
    assert here.cluster("status").code == 3


def test_a_taken_port_is_named_with_who_needs_it(here: Terminal) -> None:
    with socket.socket() as taken:
        port = next(port for port in range(11_000, 15_000) if is_free(port))
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused = here.cluster("up", "--only", "bff", f"--port-offset={port - 8085}")
    assert refused.code == 1
    assert refused.err.startswith("error CONFIG_INVALID: ")
    assert f"{port} (HTTP of bff-1)" in refused.err
    assert "--port-offset" in refused.err
    assert read_state(here.place) is None


def test_nodes_that_are_late_are_told_of_and_go_on(here: Terminal) -> None:
    late = here.cluster("up", "--detach", *SMALL, "--timeout", "1")
    assert late.code == 1
    assert "error: not up after 1 s: identity-1 (" in late.err
    assert "the supervisor goes on" in late.err
    until(lambda: here.cluster("status").code == 0)
    here.cluster("down").require()


def test_beside_memql_up_there_is_no_cluster_in_the_same_home(here: Terminal) -> None:
    with announce(here.home, grpc="127.0.0.1:1", http="127.0.0.1:2", trees=[]):
        refused = here.cluster(*UP)
    assert refused.code == 1
    assert f"memql up (process {os.getpid()}) runs in {here.home}" in refused.err


def test_without_a_terminal_it_says_in_lines_what_changes_and_ends_in_order_on_a_signal(here: Terminal) -> None:
    command = [sys.executable, "-m", "memql", "cluster", "up", *SMALL]
    with (here.home / "said").open("w+") as said:
        supervisor = subprocess.Popen(command, stderr=said, env=here.environment, start_new_session=True)
        try:
            until(lambda: "memql cluster logs -f" in (here.home / "said").read_text())
            state = here.state()
            supervisor.send_signal(signal.SIGINT)
            assert supervisor.wait(SECONDS) == 0
        finally:
            supervisor.kill()
            supervisor.wait(SECONDS)
    lines = (here.home / "said").read_text().splitlines()
    assert lines[0].startswith("identity-1 is ready after ")
    assert lines[-2:] == ["stopping", "everything is stopped"]
    assert not any("\x1b" in line for line in lines)
    assert not state.running_nodes()


def test_a_second_signal_ends_everything_at_once(here: Terminal) -> None:
    here.cluster(*UP).require()
    state = here.state()
    node = here.node("identity-1").process
    assert node is not None
    # A process that is stopped answers no SIGTERM.
    node.signal(signal.SIGSTOP)
    state.supervisor.signal(signal.SIGTERM)
    until(lambda: here.node("identity-1").phase == "stopping")
    state.supervisor.signal(signal.SIGTERM)
    until(lambda: is_gone(state.supervisor.pid), 15)
    assert is_gone(node.pid)
    assert here.cluster("status").code == 3
