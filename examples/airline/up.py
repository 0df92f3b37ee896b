"""``make up``: the system with the airline tree, filled with the public data the first time, and things to try.

Everything here is the ``memql`` command: ``memql up --tree``, ``memql query`` and ``memql import``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dataset import FILES, prepare

from memql.cli.running import find_running

HERE = Path(__file__).resolve().parent
MEMQL = Path(sys.executable).with_name("memql")
HOME = Path(os.environ.get("MEMQL_HOME", "~/.memql")).expanduser()
READY_SECONDS = 120

TOUR = """
The airline example is loaded. In a second terminal, with .venv/bin on the PATH (or through .venv/bin/memql), try:

  memql query 'queryHubs({limit: 5})'                                   hubs, by city
  memql query 'queryDepartures({airport: "ABQ", carrier: "AA"})'        follow routes
  memql query 'logicDistance({from: "ABQ", to: "ORD"})'                 a body that reads and calls host code
  memql subscribe v1:airline:notice                                     leave it open, and in a third terminal:
  memql import v1:airline:disruption examples/airline/data/disruptions.csv
  memql query 'history(id=="v1:airline:route:AA-ABQ-DFW")'              what the automation did to a route
  memql query 'queryDisruptedCount()'
  memql si chat 'what happened at Denver?'                              works without a model, and says so

docs/tutorial.md goes on from there. Ctrl-C stops everything; the data stays.
"""


def main() -> int:
    """Run until interrupted; the exit status is that of ``memql up``."""
    command = [str(MEMQL), "up", "--tree", str(HERE / "tree"), *sys.argv[1:]]
    node = subprocess.Popen(command)
    # Ctrl-C reaches the whole foreground group: the node drains by itself, and this script waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: node.terminate())
    if _ready(node) and not _fill(node):
        node.terminate()
        node.wait()
        return 1
    if node.poll() is None:
        print(TOUR, flush=True)
    return node.wait()


def _ready(node: subprocess.Popen[bytes]) -> bool:
    """Wait until the node has said in its home that it serves; False when it ended by itself, having said why."""
    deadline = time.monotonic() + READY_SECONDS
    while node.poll() is None and time.monotonic() < deadline:
        running = find_running(HOME)
        if running is not None and running.pid == node.pid:
            return True
        time.sleep(0.05)
    return False


def _fill(node: subprocess.Popen[bytes]) -> bool:
    """Import what is not there yet; False when an import failed."""
    missing = [concept for concept in FILES if _count(concept) == 0]
    if not missing:
        return True
    files = {path.name: path for path in prepare(HOME / "airline")}
    for concept in missing:
        imported = subprocess.run(
            [MEMQL, "import", concept, files[FILES[concept]], "--id", "id", "--tree", HERE / "tree"], check=False
        )
        if imported.returncode or node.poll() is not None:
            return False
    return True


def _count(concept: str) -> int:
    counted = subprocess.run([MEMQL, "query", "--raw", f"count {concept}"], capture_output=True, text=True, check=True)
    return int(json.loads(counted.stdout)["meta"]["count"])


if __name__ == "__main__":
    raise SystemExit(main())
