"""What runs in the processes of a fleet: a parent that has imported everything forks a node in milliseconds.

Run as ``fleet_node.py``; each line ``{"log": PATH, "env": {...}}`` on its input forks a node and prints its pid. A node
plays the role of its ``MEMQL_NODE_TYPE``, and its environment says what it writes down for the test:

* ``FLEET_SEEN``: every event that its bus published, one line ``incarnation event-id topic`` each;
* ``FLEET_RUNS``: every call of ``fleetRan``, one line ``incarnation automation about`` each;
* ``FLEET_VIEW``: how it sees the others, as JSON, always anew;
* ``FLEET_DIAL``: a JSON object, through which address it reaches others: what is dialed, by where it really goes;
* ``FLEET_NAPS``: set, it has the host code of ``fleetNap``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import anyio
from anyio.abc import TaskGroup

from memql.config import load_settings
from memql.engine.context import RequestContext
from memql.events import Event
from memql.mesh.links.streams import Stream
from memql.mesh.mesh import Mesh
from memql.node import Node, run_node

_VIEW_EVERY = 0.1


async def _live() -> None:
    from memql.cli.logs import configure_logging

    settings = load_settings()
    configure_logging(settings)
    with ExitStack() as stack:
        runs = Runs(stack.enter_context(Path(os.environ["FLEET_RUNS"]).open("a", buffering=1)))  # noqa: ASYNC230
        seen = stack.enter_context(Path(os.environ["FLEET_SEEN"]).open("a", buffering=1))  # noqa: ASYNC230
        _equip(runs)
        _detour(json.loads(os.environ.get("FLEET_DIAL", "{}")))
        async with anyio.create_task_group() as tasks:
            await run_node(settings, ready=partial(_observe, seen, runs, stack, tasks))
            tasks.cancel_scope.cancel()


@dataclass
class Runs:
    """Takes down the runs of automations; ``life`` is the incarnation of the node, once it is known."""

    file: TextIO
    life: str = "-"

    def note(self, automation: str, about: str) -> None:
        """A run."""
        self.file.write(f"{self.life} {automation} {about}\n")


async def _observe(seen: TextIO, runs: Runs, stack: ExitStack, tasks: TaskGroup, node: Node) -> None:
    """Write down what the bus of the node publishes, and how the node sees the others."""
    mesh = node.companion
    # An identity node issues credentials and joins nothing.
    if mesh is None:
        return
    assert isinstance(mesh, Mesh)
    runs.life = mesh.incarnation

    def note(event: Event) -> None:
        if not event.demanded:
            seen.write(f"{mesh.incarnation} {event.id} {event.topic}\n")

    stack.enter_context(node.bus.tap(note))
    tasks.start_soon(_keep_view, mesh, Path(os.environ["FLEET_VIEW"]))


async def _keep_view(mesh: Mesh, path: Path) -> None:
    draft = path.with_suffix(".draft")
    while True:
        draft.write_text(json.dumps(_view(mesh)))
        draft.rename(path)
        await anyio.sleep(_VIEW_EVERY)


def _view(mesh: Mesh) -> dict[str, Any]:
    return {
        "life": mesh.incarnation,
        "peers": {
            peer.id: {"health": peer.health.name, "life": peer.card.incarnation, "observed": peer.observed}
            for peer in mesh.peers
        },
        "streams": sorted({link.peer.id for link in mesh.switchboard if link.alive}),
        "dialed": sorted(link.peer.id for link in mesh.switchboard if link.dialed and link.alive),
        "asking": len(mesh.forwarding.inflight),
    }


# --- host code -------------------------------------------------------------------------------------------------------


def _equip(runs: Runs) -> None:
    """Have every engine that this process builds know the host code of the tree."""
    from memql.engine import assembly

    async def ran(args: Mapping[str, Any], ctx: RequestContext) -> bool:
        runs.note(args["automation"], args["about"])
        return True

    async def nap(args: Mapping[str, Any], ctx: RequestContext) -> str:
        await anyio.sleep(args["seconds"])
        return os.environ["MEMQL_NODE_ID"]

    build = assembly.build_engine

    def build_equipped(*args: Any, **more: Any) -> Any:
        engine = build(*args, **more)
        engine.builtins.register("fleet.ran", ran)
        if "FLEET_NAPS" in os.environ:
            engine.builtins.register("fleet.nap", nap)
        return engine

    assembly.build_engine = build_equipped


def _detour(ways: Mapping[str, str]) -> None:
    """Have this process dial some addresses by way of others."""
    if not ways:
        return
    from memql.mesh.links import dialer, streams

    straight = streams.dial

    @asynccontextmanager
    async def dial(address: str, **more: Any) -> AsyncIterator[Stream]:
        async with straight(ways.get(address, address), **more) as stream:
            yield stream

    vars(dialer)["dial"] = dial


# --- processes -------------------------------------------------------------------------------------------------------


def _main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    import memql.mesh.mesh
    import memql.server.server  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        print(pid, flush=True)


def _become(order: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(order["env"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    code = 1
    try:
        anyio.run(_live)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _main()
