"""Canaries: small internal events that every node sends now and then through the hub, to know that events arrive (spec
"Durable substrate").

A node that hears the canaries of others is reached by pushes. One that does not is still served by the log, as long as
it follows it closely; only when neither works is it not ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio

from memql.ids import new_id
from memql.mesh import metrics
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import MOST_PEERS
from memql.mesh.wire.records import Record

__all__ = ["TOPIC", "Canary"]

TOPIC: Final = "mesh.canary"
_TTL: Final = 2


class Canary:
    """Sends and hears the canaries of one node.

    :param node: its id.
    :param switchboard: has the streams that carry events.
    :param others: how many other nodes there are, as far as is known.
    :param behind: seconds that the log may hold undelivered events for.
    """

    def __init__(
        self,
        node: str,
        options: Options,
        switchboard: Switchboard,
        others: Callable[[], int],
        behind: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._options = options
        self._switchboard = switchboard
        self._others = others
        self._behind = behind
        self._clock = clock
        self._heard_at = clock()
        self._heard: dict[str, str] = {}

    @property
    def age(self) -> float:
        """Seconds since a canary of another node came."""
        return self._clock() - self._heard_at

    def by_push(self) -> bool:
        """Whether pushes reach this node; true where nobody is who could send one."""
        return not self._others() or self.age < self._options.canary_patience

    def by_log(self) -> bool:
        """Whether the log is followed closely."""
        return self._behind() < self._options.canary_patience

    def delivers(self) -> bool:
        """Whether events reach this node, one way or the other."""
        return self.by_push() or self.by_log()

    def take(self, link: Link, record: Record) -> None:
        """A canary came; hand it on once to everybody but where it came from."""
        if record.origin == self._node or self._heard.get(record.origin) == record.id:
            return
        if len(self._heard) >= MOST_PEERS:
            self._heard.clear()
        self._heard[record.origin] = record.id
        self._heard_at = self._clock()
        if record.ttl > 1:
            self._send(record.hand_on(), but={link.peer.id, record.origin})

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._send(Record(new_id(), TOPIC, 0, 0, self._node, _TTL, 1, None, b"{}"), but=set())
            metrics.canary_age.set(self.age if self._others() else 0.0)
            await anyio.sleep(self._options.canary_every)

    def _send(self, record: Record, but: set[str]) -> None:
        for line in self._switchboard.lines.values():
            if line.peer.id not in but:
                line.offer(record)
