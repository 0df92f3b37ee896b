"""Hints over the database: "something was written", for nodes that no stream connects (spec "Durable substrate").

A hint is sent apart from the write, because a notification inside it would serialise commits, and at most once in a
while for all that was written since the last. It is only a hint: whoever misses it looks once a second anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
import msgspec

from memql.errors import MemqlError
from memql.events import Event
from memql.graph.database import Database
from memql.mesh.options import Options

__all__ = ["CHANNEL", "Hint", "HintListener", "HintSender"]

log = logging.getLogger(__name__)

CHANNEL: Final = "memql_events"

_SEND: Final = "SELECT pg_notify(%s, %s)"
_WAIT: Final = 30.0
_RETRY: Final = 1.0


class Hint(msgspec.Struct, frozen=True):
    """What a node wrote: up to which log position, and whether anything else."""

    node: str
    log_seq: int = 0
    outbox: bool = False


class HintSender:
    """Sends for one node.

    :param needed: whether any node is there that no stream reaches.
    """

    def __init__(self, database: Database, node: str, options: Options, needed: Callable[[], bool]) -> None:
        self._database = database
        self._node = node
        self._every = options.hint_every
        self._needed = needed
        self._log_seq = 0
        self._outbox = False
        self._noted = anyio.Event()

    def note(self, event: Event) -> None:
        """An event of this node is for others too."""
        if event.log_seq is None:
            self._outbox = True
        else:
            self._log_seq = max(self._log_seq, event.log_seq)
        self._noted.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._noted.wait()
            self._noted = anyio.Event()
            hint = Hint(self._node, self._log_seq, self._outbox)
            self._outbox = False
            if self._needed():
                await self._send(hint)
            await anyio.sleep(self._every)

    async def _send(self, hint: Hint) -> None:
        try:
            await self._database.execute(_SEND, (CHANNEL, msgspec.json.encode(hint).decode()), timeout=5.0)
        except MemqlError as error:
            log.debug("a hint was not sent: %s", error.message)


class HintListener:
    """Listens for one node, on a session of its own past any pooler.

    :param heard: gets every hint of another node.
    :param connected: called when listening begins, again after every loss: hints may have been missed.
    """

    def __init__(
        self, database: Database, node: str, heard: Callable[[Hint], None], connected: Callable[[], None]
    ) -> None:
        self._database = database
        self._node = node
        self._heard = heard
        self._connected = connected

    async def run(self) -> None:
        """Listen for ever; without a database, try again."""
        while True:
            try:
                await self._listen()
            except MemqlError as error:
                log.warning("hints are not heard: %s", error.message)
            await anyio.sleep(_RETRY)

    async def _listen(self) -> None:
        async with self._database.direct() as session:
            await session.execute(f"LISTEN {CHANNEL}")
            self._connected()
            while True:
                for notification in await session.notifications(_WAIT):
                    self._take(notification.payload)

    def _take(self, payload: str) -> None:
        try:
            hint = msgspec.json.decode(payload, type=Hint)
        except msgspec.MsgspecError as error:
            log.warning("a hint cannot be read: %s", error)
            return
        if hint.node != self._node:
            self._heard(hint)
