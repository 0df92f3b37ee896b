"""A node from its opening to its end (spec "Lifecycle")."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import anyio

from memql.config import Settings
from memql.errors import Code, MemqlError
from memql.node.failures import unwrapped
from memql.node.lifecycle import Lifecycle, State
from memql.node.opening import cursor_key, open_store
from memql.node.roles import Companion, Component, Role, choose_roles, installed_roles, load_role
from memql.node.tree import reload_catalog

if TYPE_CHECKING:
    from memql.automations import Automations
    from memql.engine.engine import Engine
    from memql.events import Bus, Event
    from memql.graph.database import Database
    from memql.lang.catalog import Catalog
    from memql.node.trust import LocalIssuer, Trust
    from memql.server.health import Health
    from memql.server.ports import Authenticator, NodeIdentity, Services
    from memql.server.routing import RouteTable
    from memql.server.server import Server
    from memql.server.sessions import Sessions

__all__ = ["Node", "open_node"]

log = logging.getLogger(__name__)


class Node:
    """A running node. Open it with :func:`open_node`."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        database: Database,
        engine: Engine,
        automations: Automations,
        bus: Bus,
    ) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.database = database
        self.engine = engine
        self.automations = automations
        self.bus = bus
        self.server: Server
        self.services: Services
        self.authenticator: Authenticator
        self.trust: Trust | None = None
        """How callers are verified; None without identity."""
        self.routes: RouteTable
        self.sessions: Sessions
        self.health: Health
        self.companion: Companion | None = None
        self._drain_asked = anyio.Event()
        self._reloading = anyio.Lock()

    @property
    def identity(self) -> NodeIdentity:
        """Which node this is."""
        return self.services.identity

    def ask_to_drain(self, reason: str) -> bool:
        """Have :meth:`wait_for_drain` return; False when that was asked before."""
        if self._drain_asked.is_set():
            return False
        log.info("draining: %s", reason or "asked to")
        self._drain_asked.set()
        return True

    async def wait_for_drain(self) -> None:
        """Return when the node was asked to drain, by a signal or by a client."""
        await self._drain_asked.wait()

    async def drain(self) -> None:
        """End every stream gracefully: at most the drain delay and the budget of the settings."""
        self._drain_asked.set()
        self.lifecycle.advance(State.DRAINING)
        delay, budget = _drain_delay(self.settings), self.settings.shutdown_budget
        ends = anyio.current_time() + delay + budget
        await self.server.drain(delay, budget)
        if self.companion is not None:
            await self.companion.drain(max(0.0, ends - anyio.current_time()))

    async def check_readiness(self) -> Sequence[tuple[str, bool]]:
        """What ``/readyz`` asks: the tables and the schema, the keys of a verifier, then the companion's own checks.

        :raises MemqlError: when the database cannot be asked.
        """
        from memql.graph.readiness import check_readiness

        keys = () if self.trust is None else self.trust.checks()
        own = () if self.companion is None else self.companion.checks()
        return [*await check_readiness(self.database), *keys, *own]

    async def reload(self) -> bool:
        """Read the tree again and serve it; False when nothing has changed.

        :raises MemqlError: ``TREE_REFUSED`` and others; the tree in force stays.
        """
        from memql.engine.write import Seeder

        async with self._reloading:
            current = self.engine.catalog
            fresh = await reload_catalog(self.settings.dsl_path, self.database, current)
            if fresh.version == current.version:
                return False
            if self.settings.migrates_on_start:
                from memql.graph.indexes import ensure_indexes

                await ensure_indexes(self.database, fresh.concepts.values())
            self.automations.use(fresh)
            self.engine.use(fresh)
            await Seeder(self.engine.writer, self.database, fresh).apply()
            return True

    async def seed_new_users(self) -> None:
        """Write the per-user seeds of every user that is created; runs until cancelled."""
        from memql.engine.write import USER_CREATED, Seeder

        async with self.bus.subscribe(USER_CREATED, name="seeds") as created:
            async for delivery in created:
                await self._seed_user(Seeder(self.engine.writer, self.database, self.engine.catalog), delivery.event)

    async def _seed_user(self, seeder: Any, event: Event) -> None:
        user = str(event.payload.get("nodeId", ""))
        try:
            await self.database.ride_out("seeding a user", partial(seeder.apply_to_user, user))
        except MemqlError as error:
            # The next start writes what is missing; the user's row stands either way.
            log.warning("the seeds of the user of event %s are not written: %s", event.id, error)


@asynccontextmanager
async def open_node(
    settings: Settings, *, everything: bool = False, roles: Sequence[Role] | None = None
) -> AsyncIterator[Node]:
    """Open a node in order: database, schema, tree, engine, seeds, automations, server; close it in reverse.

    The node is ready, and listens, when the block begins. Leaving the block stops at once what
    :meth:`Node.drain` has not ended.

    :param everything: play every installed role, as ``memql up`` does.
    :param roles: play these instead of installed ones.
    :raises MemqlError: what keeps it from starting; nothing stays open then.
    """
    with unwrapped():
        async with AsyncExitStack() as stack:
            yield await _open(stack, settings, everything=everything, roles=roles)


async def _open(stack: AsyncExitStack, settings: Settings, *, everything: bool, roles: Sequence[Role] | None) -> Node:
    played, node_type = _roles(settings, everything=everything, given=roles)
    from memql.server.no_auth import callers_are_verified, take_everyone

    # Decided before anything is opened, so that a node which must not start opens nothing.
    issuer = next((one for role in played if (one := role.issuer(settings)) is not None), None)
    verified = callers_are_verified(settings, issuing=issuer is not None)
    lifecycle = Lifecycle()
    stack.callback(lifecycle.advance, State.STOPPED)
    database, catalog = await open_store(stack, settings)

    from memql.node.identity import identify

    port = played[0].port if len(played) == 1 else None
    identity = identify(settings, node_type, port)
    node = await _open_engine(stack, settings, lifecycle, database, catalog, identity)
    if verified:
        await _open_trust(stack, node, issuer, alone=len(played) == 1 and not everything)
    else:
        node.authenticator = take_everyone()
    await _open_server(stack, node, identity, played)
    lifecycle.advance(State.READY)
    node.server.health.started = True
    log.info("node %s (%s) is ready", identity.id, identity.type)
    return node


def _roles(settings: Settings, *, everything: bool, given: Sequence[Role] | None) -> tuple[tuple[Role, ...], str]:
    if given is not None:
        choice = choose_roles([role.name for role in given], settings.node_type, everything=everything)
        return tuple(role for role in given if role.name in choice.roles), choice.node_type
    installed = installed_roles()
    choice = choose_roles(list(installed), settings.node_type, everything=everything)
    return tuple(load_role(installed[name]) for name in choice.roles), choice.node_type


async def _open_trust(stack: AsyncExitStack, node: Node, issuer: LocalIssuer | None, *, alone: bool) -> None:
    from memql.node.trust import open_trust

    on_issuer = alone and issuer is not None
    opened = open_trust(node.settings, node.database, node.engine.writer, node.bus, issuer, on_issuer=on_issuer)
    node.trust = await stack.enter_async_context(opened)
    node.authenticator = node.trust.authenticator


async def _open_engine(
    stack: AsyncExitStack,
    settings: Settings,
    lifecycle: Lifecycle,
    database: Database,
    catalog: Catalog,
    identity: NodeIdentity,
) -> Node:
    from memql.automations import Automations, Options
    from memql.engine.assembly import build_engine
    from memql.engine.logic import Runner
    from memql.engine.write import Seeder
    from memql.events import Bus
    from memql.secrets.keys import MasterKey

    bus = Bus()
    stack.callback(bus.close)
    engine = build_engine(
        database,
        catalog,
        publish=bus.publish,
        node=identity.id,
        master_key=MasterKey.from_hex(settings.master_key) if settings.master_key else None,
        cursor_key=cursor_key(settings),
        max_results=settings.query_max_results,
        model_defaults={
            "chat": settings.default_chat_provider,
            "embedding": settings.default_embedding_provider,
        },
    )
    stack.enter_context(bus.tap(engine.freshness.heard, local=False, root="graph"))
    await database.ride_out("seeding", Seeder(engine.writer, database, catalog).apply)
    automations = Automations(
        database=database,
        bus=bus,
        runner=cast("Runner", engine.logic),
        writer=engine.writer,
        executors=lambda: engine.builtins.executors,
        node=identity.id,
        options=Options(
            cursor=f"role:{identity.type}",
            unguarded_runs=settings.max_unguarded_runs,
            unguarded_window=settings.unguarded_window,
            outbox_retention=settings.mesh_outbox_retention,
        ),
    )
    return Node(settings, lifecycle, database, engine, automations, bus)


async def _open_server(stack: AsyncExitStack, node: Node, identity: NodeIdentity, played: Sequence[Role]) -> None:
    from memql.server.health import Health
    from memql.server.server import open_server
    from memql.server.sessions import Sessions

    services = node.services = _services(node, identity)
    node.routes = _routes(node, played)
    node.sessions = Sessions(None if node.trust is None else node.trust.watch, node.bus.publish)
    node.health = Health(identity, node.sessions, node.check_readiness)
    for role in played:
        await role.prepare(services)
    # Only now: the executors of the roles decide which automations run here.
    await stack.enter_async_context(node.automations.running(node.engine.catalog))
    tasks = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(tasks.cancel_scope.cancel)
    if len(played) == 1 and (companion := played[0].companion(node)) is not None:
        node.companion = await stack.enter_async_context(companion)
    node.server = await stack.enter_async_context(
        open_server(
            node.settings,
            services,
            authenticator=node.authenticator,
            routes=node.routes,
            sessions=node.sessions,
            health=node.health,
            http_routes=[route for role in played for route in role.http_routes(services)],
            http_middlewares=[one for role in played for one in role.http_middlewares(services)],
            grpc_handlers=[handler for role in played for handler in role.grpc_handlers(services)],
        )
    )
    components = [
        Component("seeds", node.seed_new_users),
        Component("cache", node.engine.freshness.run),
        *(component for role in played for component in role.components(services)),
    ]
    for name in ("database", "engine", "automations", "server"):
        node.health.components[name] = True
    for component in components:
        tasks.start_soon(_run_component, component, node.health.components, name=f"node: {component.name}")


def _services(node: Node, identity: NodeIdentity) -> Services:
    from memql.events.log import EventLog
    from memql.events.masking import SecretMask
    from memql.lang import sense
    from memql.server.ports import Services
    from memql.server.subscriptions.tail import LogTail

    engine = node.engine
    return Services(
        identity=identity,
        engine=engine,
        bus=node.bus,
        version=version("memql-core"),
        settings=node.settings,
        database=node.database,
        writer=engine.writer,
        authenticator=node.authenticator,
        tools=engine.tools,
        policies=engine.policies,
        models=engine.models,
        readable=engine.readable,
        automations=node.automations,
        sense=sense,
        tail=LogTail(EventLog(node.database, SecretMask(lambda: engine.catalog)), node.bus),
        drain=node.ask_to_drain,
    )


def _routes(node: Node, played: Sequence[Role]) -> RouteTable:
    from memql.server.handlers import core_routes

    routes = core_routes()
    for role in played:
        for name, executor in role.executors(node.services).items():
            node.engine.builtins.register(name, executor)
        routes.add(role.payloads(node.services))
    return routes


async def _run_component(component: Component, running: dict[str, bool]) -> None:
    from memql.graph.patience import keep_running

    running[component.name] = True
    try:
        await keep_running(f"the component {component.name}", component.run)
    finally:
        running[component.name] = False
    raise MemqlError(Code.INTERNAL, f"the component {component.name} ended by itself; a component runs until stopped")


def _drain_delay(settings: Settings) -> float:
    """How long probes get to notice. On a development machine nothing routes here by probes, so nobody waits."""
    if settings.explicit_development and settings.source_of("shutdown_drain_delay") == "default":
        return 0.0
    return settings.shutdown_drain_delay
