"""Starting further nodes on request: processes of this machine, for development (spec "Payloads", spawn_request).

In a cluster the orchestrator owns the life of nodes, so a node without a spawner refuses.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import anyio
import anyio.abc

from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.ids import new_id
from memql.mesh.discovery.topology import MESH_TYPES
from memql.mesh.links.link import Link
from memql.mesh.tasks import Start
from memql.mesh.wire.messages import SpawnRequest, SpawnResult

__all__ = ["LocalSpawner", "NoSpawner", "Spawner", "Spawning", "spawning"]

log = logging.getLogger(__name__)

_STOP_SECONDS: Final = 10.0
_MOST: Final = 16
_LISTENERS: Final[Mapping[str, str]] = {
    "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
    "SERVER_ADDRESS": "127.0.0.1:0",
    "MEMQL_NODE_SERVICE_ADDRESS": "127.0.0.1:0",
}
_ALLOWED: Final = frozenset({"MEMQL_NODE_FLAVOR", "MEMQL_LOG_LEVEL", "MEMQL_DSL_PATH"})
"""What a request may set beside the type and the labels; a peer must not choose the rest of a process' environment."""


class Spawner(Protocol):
    """Starts nodes."""

    async def spawn(self, node_type: str, labels: Mapping[str, str], env: Mapping[str, str]) -> str:
        """Start a node; gives its id.

        :raises MemqlError: when it will not.
        """
        ...


class NoSpawner:
    """Refuses: the orchestrator starts nodes."""

    async def spawn(self, node_type: str, labels: Mapping[str, str], env: Mapping[str, str]) -> str:
        """Refused."""
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            "this node starts no others: the orchestrator does; MEMQL_MESH_SPAWNER=local is for development",
        )


class LocalSpawner:
    """Starts nodes as child processes on free ports of this machine, with this node's environment.

    :param start: starts a task that lives until :meth:`stop` has returned.
    """

    def __init__(self, start: Start, environ: Mapping[str, str] = os.environ) -> None:
        self._start = start
        self._environ = environ
        self._children: dict[str, anyio.abc.Process] = {}

    async def spawn(self, node_type: str, labels: Mapping[str, str], env: Mapping[str, str]) -> str:
        """Start ``memql run`` of that type.

        :raises MemqlError: ``INVALID_ARGUMENT`` for another type or variable than allowed, ``RESOURCE_EXHAUSTED`` when
            enough run already, ``UNAVAILABLE`` when the process cannot be started.
        """
        self._check(node_type, env)
        node_id = f"{node_type}-{new_id()[:8]}"
        environment = {
            **self._environ,
            **_LISTENERS,
            **env,
            "MEMQL_NODE_TYPE": node_type,
            "MEMQL_NODE_ID": node_id,
            "MEMQL_NODE_LABELS": ",".join(f"{name}={value}" for name, value in labels.items()),
            "MEMQL_MESH_SPAWNER": "",
        }
        for name in ("MEMQL_NODE_ADDRESS", "MEMQL_NODE_TOKEN"):
            environment.pop(name, None)
        try:
            process = await anyio.open_process(
                [sys.executable, "-m", "memql", "run"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=None,
            )
        except OSError as error:
            raise MemqlError(Code.UNAVAILABLE, f"the node cannot be started: {error}") from error
        self._children[node_id] = process
        self._start(self._watch, node_id, process, name=f"mesh: {node_id}")
        log.info("started %s as process %d", node_id, process.pid)
        return node_id

    def _check(self, node_type: str, env: Mapping[str, str]) -> None:
        if node_type not in MESH_TYPES:
            raise MemqlError(
                Code.INVALID_ARGUMENT, f"{node_type!r} is no type of node; there are {', '.join(sorted(MESH_TYPES))}"
            )
        if foreign := env.keys() - _ALLOWED:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{', '.join(sorted(foreign))} cannot be set for a spawned node")
        if len(self._children) >= _MOST:
            raise MemqlError(Code.RESOURCE_EXHAUSTED, f"{_MOST} spawned nodes run already")

    async def _watch(self, node_id: str, process: anyio.abc.Process) -> None:
        code = await process.wait()
        self._children.pop(node_id, None)
        log.log(logging.INFO if code == 0 else logging.WARNING, "%s has ended with %d", node_id, code)

    async def stop(self) -> None:
        """End what was started; what does not end within ten seconds is killed."""
        for process in self._children.values():
            with suppress(ProcessLookupError):
                process.terminate()
        with anyio.move_on_after(_STOP_SECONDS):
            for process in tuple(self._children.values()):
                await process.wait()
        for process in self._children.values():
            with suppress(ProcessLookupError):
                process.kill()


@asynccontextmanager
async def spawning(settings: Settings) -> AsyncIterator[Spawner]:
    """The spawner that the settings ask for; what it started ends with the block.

    :raises MemqlError: ``CONFIG_INVALID`` for a local one outside development.
    """
    if settings.mesh_spawner != "local":
        yield NoSpawner()
        return
    if not settings.explicit_development:
        raise MemqlError(
            Code.CONFIG_INVALID, "MEMQL_MESH_SPAWNER=local needs MEMQL_ENVIRONMENT=development: clusters have theirs"
        )
    async with anyio.create_task_group() as tasks:
        local = LocalSpawner(tasks.start_soon)
        try:
            yield local
        finally:
            with anyio.CancelScope(shield=True):
                await local.stop()
            tasks.cancel_scope.cancel()


class Spawning:
    """Answers the spawn requests of peers.

    :param start: starts a task that lives at most as long as the node.
    """

    def __init__(self, spawner: Spawner, start: Start) -> None:
        self._spawner = spawner
        self._start = start

    def asked(self, link: Link, message: SpawnRequest) -> None:
        """A peer wants another node."""
        self._start(self._answer, link, message, name=f"mesh: spawning for {link.peer.id}")

    async def _answer(self, link: Link, message: SpawnRequest) -> None:
        try:
            node_id = await self._spawner.spawn(message.node_type, message.labels, message.env)
            await link.put(SpawnResult(request_id=message.request_id, success=True, node_id=node_id))
        except MemqlError as error:
            await link.put(SpawnResult(request_id=message.request_id, error=str(error)))
