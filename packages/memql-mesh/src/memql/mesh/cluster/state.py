"""What the supervisor says about its cluster, in a file: the commands read it, and signal the processes it names.

A process counts only while the one that was written down still runs: an id that the system gave to another process
since is never signalled.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import msgspec

from memql.errors import Code, MemqlError
from memql.mesh.cluster.files import make_private_directory, read_private, write_private
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.plan import Plan
from memql.mesh.cluster.processes import ProcessId

__all__ = [
    "ClusterState",
    "NodePhase",
    "NodeState",
    "Phase",
    "initial_state",
    "read_state",
    "sole_supervisor",
    "write_state",
]

Phase: TypeAlias = Literal["starting", "late", "running", "stopping"]
"""``late`` is still starting when the time for that is over; ``running`` has been up once."""
NodePhase: TypeAlias = Literal["planned", "starting", "ready", "unready", "waiting", "stopping", "stopped"]
"""As the supervisor sees it: ``waiting`` is between an end and the next start, ``unready`` was ready and is not now."""


class NodeState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One node. ``started_at`` and ``next_start`` are seconds since 1970; ``ending`` is how its last process ended."""

    id: str
    role: str
    grpc: int
    http: int
    service: int
    phase: NodePhase = "planned"
    process: ProcessId | None = None
    started_at: float = 0.0
    restarts: int = 0
    next_start: float = 0.0
    ending: str = ""


class ClusterState(msgspec.Struct, kw_only=True):
    """A cluster and its supervisor. ``since`` is seconds since 1970; ``embedded`` tells whether the database is that of
    the home."""

    supervisor: ProcessId
    since: float
    nodes: list[NodeState]
    tls: bool = False
    embedded: bool = True
    phase: Phase = "starting"

    def find(self, node_id: str) -> NodeState:
        """A node by its id.

        :raises MemqlError: ``NOT_FOUND`` naming those that there are.
        """
        for node in self.nodes:
            if node.id == node_id:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise MemqlError(Code.NOT_FOUND, f"this cluster has no node {node_id!r}; there are {known}")

    @property
    def supervised(self) -> bool:
        """Whether the supervisor lives."""
        return self.supervisor.alive

    def running_nodes(self) -> list[NodeState]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.process is not None and node.process.alive]


def initial_state(plan: Plan, supervisor: ProcessId, since: float, *, embedded: bool) -> ClusterState:
    """What is so before anything has been started."""
    nodes = [
        NodeState(id=node.id, role=node.role, grpc=node.grpc, http=node.http, service=node.service)
        for node in plan.nodes
    ]
    return ClusterState(supervisor=supervisor, since=since, nodes=nodes, tls=plan.tls, embedded=embedded)


def read_state(place: Place) -> ClusterState | None:
    """What was said last; None where no cluster runs, or one was stopped in good order.

    :raises MemqlError: ``CONFIG_INVALID`` when the file is open to others or is none of ours.
    """
    content = read_private(place.state)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=ClusterState)
    except msgspec.MsgspecError as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"{place.state} cannot be read: {error}; remove it when no cluster runs"
        ) from error


def write_state(place: Place, state: ClusterState) -> None:
    """Say it."""
    write_private(place.state, msgspec.json.format(msgspec.json.encode(state), indent=2))


@contextmanager
def sole_supervisor(place: Place) -> Iterator[None]:
    """Be the only supervisor of the place for the length of the block; the system sees to it even if this one is
    killed.

    :raises MemqlError: ``FAILED_PRECONDITION`` when there is one already.
    """
    make_private_directory(place.directory)
    with place.lock.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MemqlError(Code.FAILED_PRECONDITION, _already(read_state(place))) from None
        yield


def _already(state: ClusterState | None) -> str:
    who = "" if state is None else f" (supervisor {state.supervisor.pid}, {len(state.nodes)} nodes)"
    return f"a cluster runs in this home already{who}; memql cluster status shows it, memql cluster down stops it"
