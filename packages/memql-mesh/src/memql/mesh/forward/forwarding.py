"""Everything that nodes ask one another to do, for one node: its parts put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import betterproto2

from memql.errors import Code, MemqlError
from memql.mesh.forward.capabilities import Capabilities
from memql.mesh.forward.choice import Chooser
from memql.mesh.forward.inflight import InFlight
from memql.mesh.forward.queries import Queries
from memql.mesh.forward.relaying import relayed_routes
from memql.mesh.forward.requesting import Requester
from memql.mesh.forward.serving import Server
from memql.mesh.forward.unserved import unserved_takers
from memql.mesh.frames import Taker
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card, Peers
from memql.mesh.spawning import Spawner, Spawning
from memql.mesh.tasks import Start
from memql.mesh.wire.messages import (
    CapabilityQuery,
    CapabilityResponse,
    QueryForward,
    QueryResponse,
    SiForwardCancel,
    SiForwardResponse,
    SpawnRequest,
)
from memql.server.routing import RouteTable

if TYPE_CHECKING:
    from memql.node.node import Node

__all__ = ["Forwarding"]


class Forwarding:
    """See the module.

    :param own: what this node says of itself now.
    :param start: starts a task that lives at most as long as the node.
    """

    def __init__(
        self,
        node: Node,
        own: Callable[[], Card],
        peers: Peers,
        switchboard: Switchboard,
        spawner: Spawner,
        options: Options,
        start: Start,
    ) -> None:
        self.inflight = InFlight(node.identity.id, options)
        self.chooser = Chooser(peers, switchboard, self.inflight.running_on)
        self.requester = Requester(node.identity, self.inflight, self.chooser)
        # What peers ask for is answered here or nowhere: the routes as they are before any leads elsewhere.
        self.server = Server(node.services, RouteTable(node.routes.routes.values()), start)
        self.queries = Queries(lambda: node.identity, node.engine, self.inflight, self.chooser, start)
        self.capabilities = Capabilities(own, peers, self.inflight)
        self.spawning = Spawning(spawner, start)
        node.routes.replace(relayed_routes(node.routes, self.requester, node.identity.type))
        node.engine.builtins.elsewhere = self.queries.call
        node.engine.models.elsewhere = self.queries.prompt

    @property
    def load(self) -> int:
        """How many requests of others run here."""
        return len(self.server)

    def takers(self) -> dict[type[betterproto2.Message], Taker]:
        """What becomes of the messages of this family; those of ``server`` come as bytes."""
        return {
            SiForwardCancel: self.server.cancel,
            SiForwardResponse: self._answered,
            QueryForward: self.queries.asked,
            QueryResponse: self.queries.answered,
            CapabilityQuery: self.capabilities.asked,
            CapabilityResponse: self.capabilities.answered,
            SpawnRequest: self.spawning.asked,
            **unserved_takers(),
        }

    def lost(self, link: Link) -> None:
        """A stream has ended, and with it what it carried in both directions."""
        self.inflight.lost(link)
        self.server.lost(link)

    def refuse(self) -> None:
        """Take nothing new from now on; what runs goes on."""
        self.server.refusal = self.queries.refusal = MemqlError(Code.UNAVAILABLE, "the node drains; ask another one")

    async def wait_idle(self, seconds: float) -> None:
        """Let what runs here for others finish, for so long at most."""
        with anyio.move_on_after(seconds):
            await self.server.wait_idle()

    def _answered(self, link: Link, message: SiForwardResponse) -> Awaitable[None] | None:
        return self.inflight.answer(message.request_id, message, last=message.done)
