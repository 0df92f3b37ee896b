"""``memql cluster up`` as this process: everything made ready, the supervisor run, and a person told about it."""

from __future__ import annotations

import signal
import time
from functools import partial

import anyio

from memql.mesh.cluster.authority import prepare_certificates
from memql.mesh.cluster.blueprint import Blueprint, Wishes, draw
from memql.mesh.cluster.files import make_private_directory, read_private
from memql.mesh.cluster.journal import Journal
from memql.mesh.cluster.place import SUPERVISOR
from memql.mesh.cluster.ports import require_free
from memql.mesh.cluster.presenting import Presenter, open_presenter
from memql.mesh.cluster.secrets import ClusterSecrets, obtain_secrets
from memql.mesh.cluster.state import sole_supervisor
from memql.mesh.cluster.stopping import clear_away
from memql.mesh.cluster.supervisor import Supervisor
from memql.mesh.cluster.table import describe_unready, rows_of

__all__ = ["run_cluster"]


async def run_cluster(wishes: Wishes, timeout: float) -> int:
    """Run a cluster until this process is told to stop; the exit code.

    :param timeout: seconds after which nodes that are not ready are told of.
    :raises MemqlError: what keeps it from starting; nothing runs then.
    """
    began = time.monotonic()
    blueprint = draw(wishes)
    with sole_supervisor(blueprint.place), open_presenter() as presenter:
        make_private_directory(blueprint.place.logs)
        journal = Journal(blueprint.place.log(SUPERVISOR), presenter.show)
        await clear_away(blueprint.place, journal.tell)
        advice = partial(_greet, blueprint, journal, presenter, began)
        supervisor = Supervisor(blueprint, _prepare(blueprint), journal, is_up=advice)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey_signals, supervisor, name="cluster: signals")
            tasks.start_soon(presenter.follow, supervisor, name="cluster: table")
            tasks.start_soon(_tell_if_late, supervisor, journal, timeout, name="cluster: patience")
            await supervisor.run()
            tasks.cancel_scope.cancel()
        journal.tell("everything is stopped")
    return 0


def _prepare(blueprint: Blueprint) -> ClusterSecrets:
    """What the nodes need before they start."""
    place, nodes = blueprint.place, blueprint.plan.nodes
    require_free((port, f"{what} of {node.id}") for node in nodes for port, what in node.ports())
    read_private(place.owner_token)  # kept from an earlier cluster, it must be nobody else's
    secrets = obtain_secrets(place, {node.role for node in nodes})
    if blueprint.plan.tls:
        prepare_certificates(place, [node.id for node in nodes])
    return secrets


async def _obey_signals(supervisor: Supervisor) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for _ in received:
            supervisor.ask_to_stop()


async def _tell_if_late(supervisor: Supervisor, journal: Journal, timeout: float) -> None:
    with anyio.move_on_after(timeout):
        await supervisor.wait_up()
        return
    rows = rows_of(supervisor.state.nodes, await supervisor.look())
    missing = describe_unready(rows) or "the nodes are not connected"
    journal.tell(f"not up after {timeout:g} s: {missing}", level="error")
    supervisor.give_up_waiting()


def _greet(blueprint: Blueprint, journal: Journal, presenter: Presenter, began: float) -> None:
    journal.tell(f"the cluster is up after {time.monotonic() - began:.1f} s")
    presenter.show(_advice(blueprint), "info", "")


def _advice(blueprint: Blueprint) -> str:
    plan = blueprint.plan
    http = ", ".join(map(plan.http_url, plan.entries))
    return (
        f"  gRPC       {', '.join(map(plan.grpc_address, plan.entries))}\n"
        f"  HTTP       {http}  (/memql/query, /memql/ws, /readyz, /metrics)\n"
        f"  owner      {blueprint.place.owner_token}\n"
        "try, in another terminal:\n"
        "  memql cluster status --watch\n"
        "  memql query 'concepts()'\n"
        "  memql cluster logs -f"
    )
