"""All live streams of this node, and which of them carries the events for a peer (spec "Connections").

Two nodes may have two streams, each having dialed the other. Either one carries heartbeats and events both ways;
requests go over the one that this node dialed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

import anyio
import betterproto2

from memql.errors import Code, MemqlError
from memql.mesh.links.gate import AUTHORIZATION
from memql.mesh.links.handshake import info_of
from memql.mesh.links.link import Link, Receive
from memql.mesh.options import Options
from memql.mesh.peers import Change, Peers
from memql.mesh.wire.messages import NodeHeartbeat, NodeShutdown, PeerIntroduction
from memql.wire.frames import Frame

__all__ = ["Switchboard"]

log = logging.getLogger(__name__)


class Switchboard:
    """See the module.

    :param receive: takes every envelope of every stream.
    :param heartbeat: what this node says of itself to a peer now.
    """

    def __init__(
        self,
        peers: Peers,
        receive: Receive,
        heartbeat: Callable[[Link], NodeHeartbeat],
        options: Options,
    ) -> None:
        self.lines: Mapping[str, Link] = {}
        """By peer id, the stream that carries events to it."""
        self.rerouted: Callable[[], None] = lambda: None
        """Called when :attr:`lines` has changed."""
        self.attached: list[Callable[[Link], None]] = []
        """Called with every stream that begins, once it carries."""
        self.detached: list[Callable[[Link], None]] = []
        """Called with every stream that has ended."""
        self._peers = peers
        self._receive = receive
        self._heartbeat = heartbeat
        self._options = options
        self._links: dict[str, list[Link]] = {}

    def __iter__(self) -> Iterator[Link]:
        return (link for links in tuple(self._links.values()) for link in tuple(links))

    async def serve(self, link: Link) -> None:
        """Carry a stream whose handshake is done, until it ends."""
        self._attach(link)
        try:
            await link.run(self._hear)
        finally:
            self._detach(link)

    def dialed(self, peer_id: str) -> Link | None:
        """The live stream to a peer that this node dialed, for requests; None without one."""
        return next((link for link in self._links.get(peer_id, ()) if link.dialed and link.alive), None)

    def dialed_of(self, *types: str) -> list[Link]:
        """The live streams that this node dialed to peers of these types."""
        return [link for link in self if link.dialed and link.alive and link.peer.type in types]

    def is_connected(self, peer_id: str) -> bool:
        """Whether any stream to the peer lives."""
        return peer_id in self.lines

    def beat(self) -> None:
        """Tell every peer how this node is."""
        for link in self:
            _post(link, self._heartbeat(link))

    def show(self, authorization: str) -> None:
        """Show those whom this node dialed its fresh credential, so that their streams outlive the old one."""
        for link in self:
            if link.dialed:
                _post(link, self._heartbeat(link), {AUTHORIZATION: authorization})

    async def keep_beating(self) -> None:
        """Heartbeats, the judgement of silence, and the renewal of introductions, for ever."""
        renewed_at = time.monotonic()
        while True:
            await anyio.sleep(self._options.heartbeat)
            self.beat()
            self._peers.sweep()
            if time.monotonic() - renewed_at >= self._options.gossip_every:
                renewed_at = time.monotonic()
                self.introduce_all()

    def introduce(self, change: Change) -> None:
        """Tell the others of a peer that this node sees itself: it came, or it has gone."""
        peer = change.peer
        if not peer.observed or (change.before is None) is (change.after is None):
            return
        intro = PeerIntroduction(peers=[info_of(peer.card, peer.health)], removal=change.after is None)
        self._tell_others(intro, peer.id)

    def introduce_all(self) -> None:
        """Tell everybody of every peer that this node sees itself: what is known by hearsay only lives on that."""
        infos = {peer.id: info_of(peer.card, peer.health) for peer in self._peers if peer.observed}
        for link in self:
            others = [info for peer_id, info in infos.items() if peer_id != link.peer.id]
            if others:
                _post(link, PeerIntroduction(peers=others))

    def shut_down(self, reason: str, grace: float) -> None:
        """Tell those who dialed this node that it goes."""
        goodbye = NodeShutdown(reason=reason, grace_seconds=round(grace))
        for link in self:
            if not link.dialed:
                _post(link, goodbye)

    def close_all(self, reason: MemqlError | None = None) -> None:
        """End every stream."""
        for link in self:
            link.close(reason)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _attach(self, link: Link) -> None:
        others = self._links.setdefault(link.peer.id, [])
        for other in others:
            if other.peer.incarnation != link.peer.incarnation:
                # Its process is gone; the stream has not noticed yet.
                other.close(MemqlError(Code.UNAVAILABLE, f"{link.peer.id} has started again"))
        others.append(link)
        self._route_events(link.peer.id)
        self._peers.observe(link.peer)
        log.info("stream %s %s/%s", "to" if link.dialed else "from", link.peer.type, link.peer.id)
        _post(link, self._heartbeat(link))
        for listener in self.attached:
            listener(link)

    def _detach(self, link: Link) -> None:
        remaining = self._links.get(link.peer.id, [])
        remaining.remove(link)
        if not remaining:
            self._links.pop(link.peer.id, None)
        carried_events = self.lines.get(link.peer.id) is link
        self._route_events(link.peer.id)
        successor = self.lines.get(link.peer.id)
        if carried_events and successor is not None:
            link.outbox.hand_over(successor.outbox)
        log.info(
            "stream %s %s/%s ended%s",
            "to" if link.dialed else "from",
            link.peer.type,
            link.peer.id,
            f": {link.end_reason.message}" if link.end_reason else "",
        )
        for listener in self.detached:
            listener(link)

    def _route_events(self, peer_id: str) -> None:
        best = _best(link for link in self._links.get(peer_id, ()) if link.alive)
        others = {known: link for known, link in self.lines.items() if known != peer_id}
        self.lines = others if best is None else {**others, peer_id: best}
        self.rerouted()

    def _hear(self, link: Link, frame: Frame) -> Awaitable[None] | None:
        self._peers.heard(link.peer)
        if link.renew is not None and (shown := frame.metadata.get(AUTHORIZATION)):
            return link.renew(shown)
        return self._receive(link, frame)

    def _tell_others(self, message: betterproto2.Message, about: str) -> None:
        for link in self:
            if link.peer.id != about:
                _post(link, message)


def _best(links: Iterable[Link]) -> Link | None:
    """Live dialed streams before accepted ones, and of those the newest."""
    return max(links, key=lambda link: (link.dialed, link.opened_at), default=None)


def _post(link: Link, message: betterproto2.Message, metadata: Mapping[str, str] | None = None) -> None:
    try:
        link.post(message, metadata=metadata)
    except MemqlError as error:
        # A peer that takes nothing is found out by its silence.
        log.debug("%r takes no %s: %s", link, type(message).__name__, error.message)
