"""The mesh as one node lives in it: its parts put together, with a beginning and an end.

Read in this order: ``routing.py`` and ``bridge.py`` (which events go where), ``peers.py`` and ``links/`` (who is there
and what connects them), ``discovery/`` (how they are found), ``delivery/`` (why nothing is lost).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import anyio

from memql.config import Settings
from memql.config.value_types import Address
from memql.errors import MemqlError
from memql.events import Event
from memql.events.kinds import kind_for_topic
from memql.events.topics import node_topic
from memql.ids import new_id
from memql.mesh.bridge import Bridge
from memql.mesh.counting import Counting
from memql.mesh.delivery.canary import TOPIC as CANARY
from memql.mesh.delivery.canary import Canary
from memql.mesh.delivery.delivery import Delivery
from memql.mesh.demand import TOPIC as DEMAND
from memql.mesh.demand import Demand
from memql.mesh.demand_talk import DemandTalk
from memql.mesh.discovery.dialing import Dialing
from memql.mesh.discovery.registry import CONCEPT, Registry, Self, new_incarnation
from memql.mesh.discovery.topology import ABLE, NodeRow, Seed, parse_seeds
from memql.mesh.forward.forwarding import Forwarding
from memql.mesh.forward.payloads import REQUEST
from memql.mesh.forward.queries import query_capabilities
from memql.mesh.frames import FrameTable, batch_taker, membership_takers
from memql.mesh.links.dialer import Dialer
from memql.mesh.links.link import BATCHES, Link
from memql.mesh.links.service import NodeService, bind
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card, Change, Health, Peers
from memql.mesh.routing import Router, parse_rules
from memql.mesh.spawning import Spawner, spawning
from memql.mesh.tasks import Start
from memql.mesh.trust.opening import Trust, open_trust
from memql.mesh.wire.messages import NodeHealthStatus, NodeHeartbeat
from memql.node.lifecycle import State

if TYPE_CHECKING:
    from memql.mesh.role import MeshRole
    from memql.node.node import Node

__all__ = ["Mesh", "open_mesh"]

log = logging.getLogger(__name__)

_ROWS_CHANGED: Final = (node_topic("created", CONCEPT), node_topic("updated", CONCEPT))


class Mesh:
    """The mesh around one node. Open it with :func:`open_mesh`.

    :param address: where other nodes reach this one.
    """

    def __init__(
        self,
        node: Node,
        role: MeshRole,
        address: str,
        trust: Trust,
        spawner: Spawner,
        options: Options,
        start: Start,
    ) -> None:
        self.node = node
        self.options = options
        self.incarnation = new_incarnation()
        self.address = address
        self._capabilities = frozenset({BATCHES, *query_capabilities(node.engine), *role.capabilities(node.services)})
        self._trust = trust
        own = self.card()
        self.router = Router([*role.routing_rules(), *parse_rules(node.settings.mesh_routes)])
        self.frames = FrameTable()
        self.peers = Peers(own.id, options, self._peer_changed)
        self.switchboard = Switchboard(self.peers, self.frames.receive, self._heartbeat, options)
        self.service = NodeService(self.card, trust.gate, self.peers, self.switchboard, options)
        self.demand = Demand(own.type)
        self.bridge = Bridge(own, node.bus, self.router, self.demand, self.switchboard, options)
        self.delivery = Delivery(
            own,
            node.database,
            node.bus,
            lambda: node.engine.catalog,
            self.router,
            options,
            dedup=self.bridge.dedup,
            unreached=lambda: any(not self.switchboard.is_connected(row.id) for row in self._others()),
        )
        self.switchboard.rerouted = self.demand.changed = self.bridge.changed
        self.bridge.saw, self.bridge.left = self.delivery.saw, self.delivery.hints.note
        self.canary = Canary(
            own.id,
            options,
            self.switchboard,
            lambda: len(self._others()),
            self.delivery.behind,
        )
        self.talk = DemandTalk(node.bus, self.demand, self.switchboard, self.bridge.tell)
        self.bridge.internal.update({CANARY: self.canary.take, DEMAND: self.talk.take})
        self.forwarding = Forwarding(node, self.card, self.peers, self.switchboard, spawner, options, start)
        self.frames.add(membership_takers(self.peers, self.bridge, self.talk, self.delivery.hurry))
        self.frames.add(self.forwarding.takers())
        self.frames.add_body("event_batch", batch_taker(self.bridge, self.delivery.hurry))
        self.frames.add_body(REQUEST, self.forwarding.server.request)
        self.registry = Registry(
            node.database,
            node.engine,
            self._self(),
            options,
            lambda: self.health,
        )
        self.dialing = Dialing(
            own,
            self._seeds(),
            node.settings.parent_address,
            self.registry.rows,
            self._dialer,
            options,
            workbench_remote=node.settings.workbench_remote,
        )
        self.switchboard.attached += [self._attached, self.talk.attached]
        self.switchboard.detached += [self._detached, self.talk.detached, self.forwarding.lost]
        trust.credential.renewed = self.switchboard.show
        self.counting = Counting(self.bridge, self.switchboard, self.peers)

    @property
    def health(self) -> Health:
        """How this node is, as others are told."""
        return Health[self.node.lifecycle.state.advertised]

    def card(self) -> Card:
        """What this node says of itself when a stream begins."""
        identity = self.node.identity
        return Card(
            id=identity.id,
            type=identity.type,
            address=self.address,
            capabilities=self._capabilities,
            labels=identity.labels,
            incarnation=self.incarnation,
            version=version("memql-mesh"),
        )

    def checks(self) -> Sequence[tuple[str, bool]]:
        """What ``/readyz`` adds: a node that events reach neither by push nor from the log is not ready."""
        return [("mesh_delivery", self.canary.delivers()), ("node_token", self._trust.credential.ready)]

    async def begin(self) -> None:
        """What must be there before the node is ready: its row and its cursors.

        :raises MemqlError: ``UNAVAILABLE`` when the database stays away.
        """
        database = self.node.database
        await database.ride_out("joining the mesh", self.delivery.begin)
        await database.ride_out("joining the mesh", self.registry.begin)

    async def run(self) -> None:
        """Everything, until cancelled."""
        with self.node.bus.tap(self.bridge.publish, remote=False):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.switchboard.keep_beating, name="mesh: heartbeats")
                tasks.start_soon(self.registry.run, name="mesh: registry")
                tasks.start_soon(self.dialing.run, name="mesh: dialing")
                tasks.start_soon(self.delivery.run, name="mesh: delivery")
                tasks.start_soon(self.canary.run, name="mesh: canary")
                tasks.start_soon(self._watch_rows, name="mesh: rows")
                tasks.start_soon(self.counting.run, name="mesh: counting")

    def entered(self, state: State) -> None:
        """The node has entered a state of its life: everybody is told at once."""
        self.registry.changed()
        self.switchboard.beat()
        if state is State.DRAINING:
            self.forwarding.refuse()
            self.switchboard.shut_down("draining", self.node.settings.shutdown_budget)

    async def drain(self, seconds: float) -> None:
        """Let what runs here for others finish, for ``seconds`` at most; then write the cursors down and leave, within
        ``options.stop``."""
        await self.forwarding.wait_idle(seconds)
        with anyio.move_on_after(self.options.stop):
            try:
                await self.delivery.save()
                await self.registry.leave()
            except MemqlError as error:
                log.warning("the mesh was left without saying so: %s", error.message)

    # --- what it says of itself -------------------------------------------------------------------------------------

    def _heartbeat(self, link: Link) -> NodeHeartbeat:
        said = {
            "load": str(self.forwarding.load),
            "behind": f"{self.delivery.behind():.1f}",
            "demand": self.talk.hash_for(link),
        }
        return NodeHeartbeat(ts=datetime.now(UTC), health=NodeHealthStatus(int(self.health)), metrics=said)

    def _self(self) -> Self:
        identity = self.node.identity
        return Self(
            id=identity.id,
            type=identity.type,
            address=self.address,
            version=version("memql-core"),
            incarnation=self.incarnation,
            flavor=identity.flavor,
            labels=tuple(identity.labels.items()),
            started_at=datetime.now(UTC),
        )

    # --- who is there -----------------------------------------------------------------------------------------------

    def _seeds(self) -> Sequence[Seed]:
        seeds, problems = parse_seeds(self.node.settings.worker_peers)
        for problem in problems:
            log.warning("MEMQL_WORKER_PEERS: %s; it is passed over", problem)
        return seeds

    def _dialer(self, address: str, server_name: str) -> Dialer:
        return Dialer(
            address,
            self.card,
            self._trust.credential,
            self.peers,
            self.switchboard,
            self.options,
            parent_id=lambda: self.dialing.parent_id,
            server_name=server_name,
        )

    def _others(self) -> Sequence[NodeRow]:
        """The other nodes that live, as the database told last."""
        return [row for row in self.dialing.rows if row.id != self.node.identity.id and row.health in ABLE]

    async def _watch_rows(self) -> None:
        async with self.node.bus.subscribe(_ROWS_CHANGED, name="mesh: rows") as changes:
            async for _ in changes:
                self.dialing.look_again()

    def _attached(self, link: Link) -> None:
        # What happened while there was no stream is in the log.
        self.delivery.hurry()

    def _detached(self, link: Link) -> None:
        self.dialing.look_again()

    def _peer_changed(self, change: Change) -> None:
        self.switchboard.introduce(change)
        if change.before is None:
            topic = "cluster.node.registered"
        elif change.after is None:
            topic = "cluster.node.deregistered"
        else:
            topic = "cluster.node.health_changed"
        self.node.bus.publish(_peer_event(topic, change))


def _peer_event(topic: str, change: Change) -> Event:
    peer = change.peer
    payload = {
        "nodeId": peer.id,
        "nodeType": peer.type,
        "address": peer.card.address,
        "before": None if change.before is None else change.before.name.lower(),
        "health": None if change.after is None else change.after.name.lower(),
    }
    return Event(id=new_id(), topic=topic, body=payload, kind=kind_for_topic(topic).name, actor="system:mesh")


@asynccontextmanager
async def open_mesh(node: Node, role: MeshRole) -> AsyncIterator[Mesh]:
    """Join the mesh while the block runs.

    :raises MemqlError: ``CONFIG_INVALID`` when NodeService cannot listen or a setting is none, ``UNAVAILABLE`` when the
        database stays away.
    """
    options = Options.of(node.settings)
    async with (
        open_trust(node) as trust,
        spawning(node.settings) as spawner,
        bind(_listens_on(node.settings, role.port), trust.server_credentials, options.stop) as listener,
        anyio.create_task_group() as tasks,
    ):
        address = node.settings.node_address or _advertised(listener.address)
        node.services.identity = replace(node.identity, address=address)
        mesh = Mesh(node, role, address, trust, spawner, options, tasks.start_soon)
        await mesh.begin()
        await listener.serve(mesh.service)
        node.lifecycle.on_change(mesh.entered)
        tasks.start_soon(mesh.run, name="mesh")
        try:
            yield mesh
        finally:
            mesh.switchboard.close_all()
            tasks.cancel_scope.cancel()


def _listens_on(settings: Settings, port: int) -> Address:
    if settings.node_service_address is not None:
        return settings.node_service_address
    # Without an identity service everybody is let in, so it must be everybody of this machine.
    return Address("" if settings.identity_verifier_base_url else "127.0.0.1", port)


def _advertised(listening: Address) -> str:
    """Where others find this replica alone."""
    host = listening.host
    if not host or host in {"0.0.0.0", "::"}:  # noqa: S104  what stands for every interface names none
        host = os.environ.get("POD_IP") or socket.gethostname()
    return str(Address(host, listening.port))
