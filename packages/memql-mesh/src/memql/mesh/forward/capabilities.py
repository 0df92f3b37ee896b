"""Who can do something: this node first, then its healthy peers (spec "Payloads", capability_query)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.forward.inflight import InFlight
from memql.mesh.links.link import Link
from memql.mesh.peers import Card, Health, Peers
from memql.mesh.wire.messages import CapabilityQuery, CapabilityResponse

__all__ = ["Capabilities"]


class Capabilities:
    """Asks and answers for one node.

    :param own: what this node says of itself now.
    """

    def __init__(self, own: Callable[[], Card], peers: Peers, inflight: InFlight) -> None:
        self._own = own
        self._peers = peers
        self._inflight = inflight

    def find(self, name: str) -> Card | None:
        """A node that can do something, as far as this one knows."""
        own = self._own()
        if name in own.capabilities:
            return own
        able = (peer.card for peer in self._peers if peer.health is Health.HEALTHY and name in peer.card.capabilities)
        return next(able, None)

    async def ask(self, link: Link, name: str, timeout: float) -> CapabilityResponse:
        """What a peer knows of who can do something.

        :raises MemqlError: ``UNAVAILABLE`` when its stream is lost, ``TIMEOUT`` when it does not answer.
        """
        request_id = self._inflight.new_id()
        with self._inflight.opened(request_id, link, None) as entry:
            link.post(CapabilityQuery(request_id=request_id, capability_name=name))
            try:
                with anyio.fail_after(timeout):
                    answer: CapabilityResponse = await entry.next()
            except TimeoutError:
                raise MemqlError(Code.TIMEOUT, f"{link.peer.id} did not answer within {timeout:g} s") from None
        return answer

    def asked(self, link: Link, message: CapabilityQuery) -> None:
        """Answer a peer."""
        card = self.find(message.capability_name)
        link.post(
            CapabilityResponse(
                request_id=message.request_id,
                available=card is not None,
                node_id="" if card is None else card.id,
                address="" if card is None else card.address,
            )
        )

    def answered(self, link: Link, message: CapabilityResponse) -> Awaitable[None] | None:
        """A peer has answered."""
        return self._inflight.answer(message.request_id, message, last=True)
