"""Runs a cluster on this machine: the database, a process per node, and the end of all of it in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import anyio
from anyio.abc import TaskGroup

from memql.cli.running import announce
from memql.config import load_settings
from memql.errors import Code, MemqlError, first_of
from memql.mesh.cluster.blueprint import Blueprint
from memql.mesh.cluster.connecting import wait_connected
from memql.mesh.cluster.credential import obtain_owner_token
from memql.mesh.cluster.environment import Environments
from memql.mesh.cluster.journal import Journal
from memql.mesh.cluster.keeper import Ending, Keeper
from memql.mesh.cluster.plan import ENTRY, IDENTITY, NodePlan
from memql.mesh.cluster.probing import Prober, Sight, open_prober
from memql.mesh.cluster.processes import identify
from memql.mesh.cluster.secrets import ClusterSecrets
from memql.mesh.cluster.state import ClusterState, NodeState, initial_state, write_state

__all__ = ["Supervisor"]

_LOOK_SECONDS: Final = 0.25
_WATCH_SECONDS: Final = 1.5
_BEYOND_BUDGET: Final = 8.0
"""Seconds that a node has beyond its drain delay and its budget: the mesh is left and the database closed in them."""


class Supervisor:
    """One cluster, from its start to its end. Its place must be nobody else's.

    :param is_up: called once every node is ready and the nodes are connected, before the state says so.
    """

    def __init__(
        self, blueprint: Blueprint, secrets: ClusterSecrets, journal: Journal, *, is_up: Callable[[], None]
    ) -> None:
        me = identify(os.getpid())
        assert me is not None
        self.blueprint = blueprint
        self.state: ClusterState = initial_state(blueprint.plan, me, time.time(), embedded=not blueprint.dsn)
        self._prober: Prober | None = None
        self._secrets = secrets
        self._journal = journal
        self._is_up = is_up
        self._keepers: dict[str, Keeper] = {}
        self._asked_to_stop = anyio.Event()
        self._up = anyio.Event()

    # --- what its owner asks for ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the cluster until :meth:`ask_to_stop`.

        :raises MemqlError: what keeps it from starting; everything is stopped again then.
        """
        try:
            async with AsyncExitStack() as stack:
                await self._run(stack)
        except BaseExceptionGroup as group:
            told, others = group.split(MemqlError)
            if told is None or others is not None:
                raise
            assert isinstance(told, ExceptionGroup)
            raise first_of(told) from None

    async def look(self) -> list[Sight]:
        """How the nodes show themselves now, in the order of the state."""
        if self._prober is None:
            return [Sight()] * len(self.state.nodes)
        return await self._prober.look_at_all(self.state.nodes)

    def give_up_waiting(self) -> None:
        """The time for starting is over: whoever waits is told, and nodes that fail are started again from now on."""
        if self.state.phase == "starting":
            self.state.phase = "late"
            self._save()

    async def wait_up(self) -> None:
        """Return once every node is ready and the nodes are connected."""
        await self._up.wait()

    def ask_to_stop(self) -> None:
        """Have everything end in order; the second time, at once."""
        if not self._asked_to_stop.is_set():
            self._asked_to_stop.set()
            return
        for keeper in self._keepers.values():
            keeper.kill()

    async def _run(self, stack: AsyncExitStack) -> None:
        environments = await self._open_database(stack)
        place, plan = self.blueprint.place, self.blueprint.plan
        self._prober = await stack.enter_async_context(open_prober(place, tls=plan.tls))
        self._make_keepers(environments)
        stack.callback(place.state.unlink, missing_ok=True)
        self._save()
        try:
            await self._supervise(stack, environments)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop_all()

    # --- up ---------------------------------------------------------------------------------------------------------

    async def _open_database(self, stack: AsyncExitStack) -> Environments:
        made = self.blueprint
        dsn = made.dsn
        if not dsn:
            from memql.graph.embedded import embedded_server

            server = await stack.enter_async_context(embedded_server(made.place.home))
            dsn = server.dsn
            self._journal.tell(f"the database runs in {server.data}")
        return Environments(
            plan=made.plan,
            place=made.place,
            given=made.given,
            secrets=self._secrets,
            dsn=dsn,
            direct_dsn=made.direct_dsn,
            trees=made.trees,
        )

    def _make_keepers(self, environments: Environments) -> None:
        for plan, state in zip(self.blueprint.plan.nodes, self.state.nodes, strict=True):
            environment = environments.of(plan)
            self._keepers[plan.id] = Keeper(
                state,
                environment,
                self.blueprint.place,
                self._journal,
                patience=_patience(environment),
                changed=self._save,
                ended=self._ended,
            )

    async def _supervise(self, stack: AsyncExitStack, environments: Environments) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, name="cluster: readiness")
            tasks.start_soon(self._bring_up, tasks, stack, environments, name="cluster: start")
            await self._asked_to_stop.wait()
            self._journal.tell("stopping")
            await self._stop_all()
            tasks.cancel_scope.cancel()

    async def _bring_up(self, tasks: TaskGroup, stack: AsyncExitStack, environments: Environments) -> None:
        assert self._prober is not None
        first, *others = self.blueprint.plan.nodes
        # It brings the schema up to date, claims a new cluster for its owner, and issues what the others join with.
        self._keep(tasks, first)
        await self._keepers[first.id].wait_ready()
        async with anyio.create_task_group() as steps:
            for node in others:
                self._keep(tasks, node)
            steps.start_soon(self._hand_over, stack, environments, name="cluster: credential of the owner")
            for node in others:
                steps.start_soon(self._keepers[node.id].wait_ready)
        await wait_connected(self._prober, self.state.nodes)
        self._up.set()
        self._is_up()
        self.state.phase = "running"
        self._save()

    def _keep(self, tasks: TaskGroup, node: NodePlan) -> None:
        tasks.start_soon(self._keepers[node.id].run, name=f"cluster: {node.id}")

    async def _hand_over(self, stack: AsyncExitStack, environments: Environments) -> None:
        """Let the commands of this machine find the cluster and act as its owner."""
        made = self.blueprint
        identity = made.plan.of(IDENTITY)[0]
        await obtain_owner_token(made.place, environments.of(identity), environments.owner_email)
        said = announce(
            made.place.home,
            grpc=",".join(map(made.plan.grpc_address, made.plan.entries)),
            http=made.plan.http_url(made.plan.entries[0]),
            trees=made.trees,
            nodes={node.id: made.plan.grpc_address(node) for node in made.plan.nodes},
            token_file=made.place.owner_token,
            ca_file=made.place.ca_file if made.plan.tls else None,
        )
        stack.enter_context(said)

    # --- while it runs ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask every node that runs whether it is ready, for ever."""
        while True:
            async with anyio.create_task_group() as asking:
                for node in self.state.nodes:
                    if node.process is not None:
                        asking.start_soon(self._look, node)
            settled = all(node.phase == "ready" for node in self.state.nodes)
            await anyio.sleep(_WATCH_SECONDS if settled else _LOOK_SECONDS)

    async def _look(self, node: NodeState) -> None:
        assert self._prober is not None
        process = node.process
        ready = await self._prober.is_ready(node)
        if node.process == process:
            self._keepers[node.id].seen(ready=ready)

    def _ended(self, node: NodeState, ending: Ending) -> None:
        """A node that cannot even start would not start later: it is told now, and nothing is left half running."""
        if self.state.phase == "starting" and ending.ready is None and ending.code > 0:
            words = self._keepers[node.id].last_words() or "it said nothing"
            raise MemqlError(Code.FAILED_PRECONDITION, f"{node.id} did not start ({ending})", context=words)

    def _save(self) -> None:
        write_state(self.blueprint.place, self.state)

    # --- down -------------------------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        """The hubs first, so that no request is taken that nobody can answer; identity last. Does nothing twice."""
        self.state.phase = "stopping"
        hubs = [node for node in self.blueprint.plan.nodes if node.role == ENTRY]
        issuers = list(self.blueprint.plan.of(IDENTITY))
        rest = [node for node in self.blueprint.plan.nodes if node not in hubs and node not in issuers]
        for stage in (hubs, rest, issuers):
            async with anyio.create_task_group() as stopping:
                for node in stage:
                    stopping.start_soon(self._keepers[node.id].stop)


def _patience(environment: Mapping[str, str]) -> float:
    settings = load_settings(environment)
    return settings.shutdown_drain_delay + settings.shutdown_budget + _BEYOND_BUDGET
