"""A node in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MEMQL", "NodeProcess", "free_port", "node", "resident"]

MEMQL = Path(sys.executable).with_name("memql")
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A node that is ready. ``started`` is seconds from its start until it said so."""

    process: subprocess.Popen[bytes]
    grpc: str
    websocket: str
    home: Path
    started: float


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def node(home: Path, tree: Path) -> Iterator[NodeProcess]:
    """Run ``memql up`` over ``home``; stop it at the end."""
    grpc, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [str(MEMQL), "up", "--tree", str(tree), "--home", str(home), "--grpc", grpc, "--http", http]
    quiet = {**os.environ, "MEMQL_LOG_LEVEL": "error"}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=quiet)
    try:
        _wait_ready(f"http://{http}/readyz", process)
        yield NodeProcess(process, grpc, f"ws://{http}", home, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait(30)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + READY_SECONDS
    while time.perf_counter() < deadline:
        assert process.poll() is None, "the node ended"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.005)
    raise TimeoutError(url)


def resident(pid: int) -> int:
    """The memory of a process, bytes (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
