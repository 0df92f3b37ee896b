"""The tours of the README, as their reader takes them: ``make up`` over a fresh home, a second terminal, and again;
then a cluster over the same data."""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

SECONDS = 120
ROUTE = "v1:airline:route:AA-ABQ-DFW"

pytestmark = [pytest.mark.timeout(600)]


class Terminal:
    """A second terminal: the ``memql`` command over the home of the tour."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        self.environment = {**os.environ, "MEMQL_HOME": str(home)}
        for name in ("MEMQL_SERVER", "MEMQL_TOKEN"):
            self.environment.pop(name, None)

    def memql(self, *command: str) -> str:
        """Run a command and give what it printed."""
        done = subprocess.run(
            [Path(sys.executable).with_name("memql"), *command],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environment,
            cwd=self.root,
            check=False,
        )
        assert done.returncode == 0, f"memql {' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, text: str) -> list[Any]:
        """The rows of a query."""
        rows: list[Any] = json.loads(self.memql("query", "--json", text))
        return rows

    @contextmanager
    def up(self) -> Iterator[Lines]:
        """``make up``, until it shows what to try; Ctrl-C at the end."""
        process = subprocess.Popen(
            [sys.executable, "examples/airline/up.py", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.root,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = Lines(process.stdout)
        try:
            lines.until("Ctrl-C stops everything")
            yield lines
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(SECONDS) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(SECONDS)
            lines.close()


class Lines:
    """The lines a process prints, waited for with a bound."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(stream,))
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def close(self) -> None:
        """Wait for the end of the stream; the process must have ended."""
        self._reader.join(SECONDS)

    def until(self, text: str) -> None:
        """Wait for a line that holds ``text``."""
        deadline = time.monotonic() + SECONDS
        while not self.seen or text not in self.seen[-1]:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"ended before {text!r}:\n{''.join(self.seen)}"
            self.seen.append(line)


@pytest.fixture
def terminal(root: Path, tmp_path: Path) -> Terminal:
    return Terminal(root, tmp_path / "home")


def test_the_tour_shows_what_the_readme_says_and_the_data_is_there_again(terminal: Terminal) -> None:
    with terminal.up() as lines:
        assert any("9161 rows stored" in line for line in lines.seen)
        hubs = terminal.rows("queryHubs({limit: 3})")
        assert [hub["iata"] for hub in hubs] == ["ALB", "ABQ", "ANC"]
        departures = terminal.rows('queryDepartures({airport: "ABQ", carrier: "AA"})')
        assert {row["carrier"] for row in departures} == {"v1:airline:carrier:AA"}
        (distance,) = terminal.rows('logicDistance({from: "ABQ", to: "ORD"})')
        assert distance == {"kilometres": 1795.9, "carriers": 4}
        follower = _follow(terminal, "subscribe", "v1:airline:notice", "-n", "4")
        terminal.memql("import", "v1:airline:disruption", "examples/airline/data/disruptions.csv")
        notices, _ = follower.communicate(timeout=SECONDS)
        assert sorted(json.loads(line)["payload"]["payload"]["text"] for line in notices.splitlines()) == [
            "AA-ABQ-DFW: delay",
            "DL-ABQ-ATL: delay",
            "UA-ABQ-DEN: cancellation",
            "WN-ABQ-LAS: delay",
        ]
        answer = terminal.memql("si", "chat", "what happened at Denver?")
        assert "No language model" in answer
        assert '"crew out of hours" (cancellation, United Airlines' in answer
        newest, oldest = terminal.rows(f'history(id=="{ROUTE}")')
        assert newest["createdBy"] == "system:automation:disruptionReported"
        assert (newest["payload"]["status"], oldest["payload"]["status"]) == ("disrupted", "active")
        (then,) = terminal.rows(f'queryRouteAt({{routeId: "AA-ABQ-DFW", at: "{oldest["createdAt"]}"}})')
        assert then["status"] == "active"
    with terminal.up() as lines:
        assert not any("rows stored" in line for line in lines.seen)
        assert len(terminal.rows(f'history(id=="{ROUTE}")')) == 2
        assert terminal.rows("queryDisruptedCount()") == [{"value": 4}]


# --- the cluster -----------------------------------------------------------------------------------------------------


def cluster_tour(root: Path) -> list[list[str]]:
    """The arguments of each command of the README's section about a cluster."""
    section = (root / "README.md").read_text(encoding="utf-8").partition("\n## A cluster\n")[2].partition("\n## ")[0]
    return [shlex.split(line, comments=True)[1:] for line in section.splitlines() if line.startswith("    memql ")]


def test_the_cluster_tour_shows_what_the_readme_says(terminal: Terminal) -> None:
    with terminal.up():
        pass
    tour = cluster_tour(terminal.root)
    up, status, hubs, delay, departures, history, runs, embed, kill, again, subscribe, drain, late, down = tour
    try:
        terminal.memql(*up, "--free-ports")
        lines = terminal.memql(*status).splitlines()
        assert [line.split()[3:5] for line in lines[1:]] == [["ok", "ready"]] * 9
        assert "Albuquerque International Sunport" in terminal.memql(*hubs)
        terminal.memql(*delay)
        _until(lambda: "disrupted" in terminal.memql(*departures))
        newest, oldest = json.loads(terminal.memql(*history, "--json"))
        assert newest["createdBy"] == "system:automation:disruptionReported"
        assert (newest["payload"]["status"], oldest["payload"]["status"]) == ("disrupted", "active")
        assert [row["payload"]["text"] for row in terminal.rows("concept==v1:airline:notice")] == ["AA-ABQ-ORD: delay"]
        assert sum(node["runs"] for node in _nodes(terminal, *runs)) >= 1
        assert "0.092, -0.005" in terminal.memql(*embed)
        (hub,) = (node for node in _nodes(terminal, *status) if node["id"] == "bff-1")
        forwarded = 'memql_mesh_forwards_total{kind="si_suggest",outcome="answered"} 1.0'
        assert forwarded in _fetch(hub["http"], "/metrics")
        checks = [check["name"] for check in json.loads(_fetch(hub["http"], "/readyz"))["checks"]]
        explained = (terminal.root / "docs" / "metrics.md").read_text(encoding="utf-8")
        assert not [name for name in checks if f"`{name}`" not in explained]
        terminal.memql(*kill)
        assert "0.092, -0.005" in terminal.memql(*again)
        follower = _follow(terminal, *subscribe, "-n", "1")
        terminal.memql(*drain)
        terminal.memql(*late)
        notice, told = follower.communicate(timeout=SECONDS)
        assert json.loads(notice)["payload"]["payload"]["text"] == "UA-ABQ-ORD: delay"
        assert "now at bff-2" in told
        terminal.memql(*down)
    finally:
        subprocess.run(
            [Path(sys.executable).with_name("memql"), "cluster", "down"],
            env=terminal.environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )


def _nodes(terminal: Terminal, *status: str) -> list[Any]:
    nodes: list[Any] = json.loads(terminal.memql(*status, "--json"))["nodes"]
    return nodes


def _fetch(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=SECONDS) as answer:
        text: bytes = answer.read()
    return text.decode()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _follow(terminal: Terminal, *subscribe: str) -> subprocess.Popen[str]:
    """A third terminal: a subscription that ends by itself; subscribed when this returns."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("memql"), *subscribe, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=terminal.environment,
        cwd=terminal.root,
    )
    assert process.stderr is not None
    assert "subscribed" in process.stderr.readline()
    return process
