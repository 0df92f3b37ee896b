"""Dials one address for as long as it is wanted, and carries the stream while there is one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.links.backoff import Backoff
from memql.mesh.links.gate import Credential
from memql.mesh.links.handshake import Welcome, greet
from memql.mesh.links.link import Link
from memql.mesh.links.streams import Stream, StreamLostError, dial
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card, Peers

__all__ = ["DialState", "Dialer"]

log = logging.getLogger(__name__)

DialState: TypeAlias = Literal["dialing", "connected", "waiting", "double"]


class Dialer:
    """See the module. A node that is reached under two addresses is kept on the first; the other dialer rests until
    that stream ends.

    :param address: ``host:port``.
    :param own: what this node says of itself now.
    :param parent_id: the id of this node's parent, empty for none.
    :param server_name: what the certificate of the dialed node must be for; the host of the address unless given.
    """

    def __init__(
        self,
        address: str,
        own: Callable[[], Card],
        credential: Credential,
        peers: Peers,
        switchboard: Switchboard,
        options: Options,
        *,
        parent_id: Callable[[], str] = lambda: "",
        server_name: str = "",
    ) -> None:
        self.address = address
        self.state: DialState = "dialing"
        self.failures = 0
        """Dials that failed since the last one that did not."""
        self.peer_id = ""
        """Who answered last."""
        self.scope = anyio.CancelScope()
        """Cancelled when the address is wanted no more."""
        self._own = own
        self._credential = credential
        self._peers = peers
        self._switchboard = switchboard
        self._options = options
        self._parent_id = parent_id
        self._server_name = server_name
        self._shown = ""
        self._hurried = anyio.Event()
        self._backoff = Backoff(options.backoff_first, options.backoff_most, options.stable_after)

    async def run(self) -> None:
        """Dial, carry, dial again; until :attr:`scope` is cancelled."""
        with self.scope:
            while True:
                await self._once()
                await self._wait()

    def hurry(self) -> None:
        """The node is known to be there: if the next dial is waited for, it is due now."""
        self._hurried.set()

    async def _wait(self) -> None:
        self.state, self._hurried = "waiting", anyio.Event()
        with anyio.move_on_after(self._backoff.next_wait()):
            await self._hurried.wait()

    async def _once(self) -> None:
        self.state, self._shown = "dialing", ""
        try:
            connected_already = await self._connect()
        except MemqlError as error:
            self._failed(error)
        except StreamLostError as lost:
            self._failed(lost.error or MemqlError(Code.UNAVAILABLE, f"{self.address} ended the stream"))
        else:
            if connected_already is not None:
                await self._rest(connected_already)

    def _failed(self, error: MemqlError) -> None:
        self.failures += 1
        known = self.failures > 1 and self.failures % 10
        log.log(logging.DEBUG if known else logging.WARNING, "dialing %s failed: %s", self.address, error.message)
        self._reconsider(error)

    def _reconsider(self, error: MemqlError | None) -> None:
        if error is not None and error.code is Code.UNAUTHENTICATED:
            self._credential.refused(self._shown)

    async def _connect(self) -> Link | None:
        """Dial and carry; gives the other stream when the node that answers is connected already."""
        self._shown = await self._credential.authorization()
        async with dial(
            self.address,
            authorization=self._shown,
            credentials=self._credential.channel_credentials(),
            server_name=self._server_name,
        ) as stream:
            answer = await self._greet(stream)
            self.peer_id = answer.card.id
            if (other := self._switchboard.dialed(answer.card.id)) is not None:
                return other
            self._peers.introduced(answer.peers)
            link = Link(stream, self._with_address(answer.card), dialed=True, options=self._options)
            await self._carry(link)
        return None

    async def _greet(self, stream: Stream) -> Welcome:
        limit = self._options.handshake
        try:
            with anyio.fail_after(limit):
                return await greet(stream, self._own(), self._parent_id(), limit)
        except TimeoutError:
            raise MemqlError(Code.UNAVAILABLE, f"{self.address} does not answer within {limit:g} s") from None

    def _with_address(self, card: Card) -> Card:
        return Card(
            id=card.id,
            type=card.type,
            address=self.address,
            capabilities=card.capabilities,
            labels=card.labels,
            incarnation=card.incarnation,
            version=card.version,
        )

    async def _carry(self, link: Link) -> None:
        self.state, self.failures = "connected", 0
        began = time.monotonic()
        await self._switchboard.serve(link)
        self._backoff.connected_for(time.monotonic() - began)
        self._reconsider(link.end_reason)

    async def _rest(self, other: Link) -> None:
        """The node is connected already, under another address: wait for that stream to end."""
        self.state = "double"
        log.info("%s is %s, which is connected already", self.address, other.peer.id)
        await other.ended.wait()
