"""The rows of nodes in the database: this node's own, and keeping those of others true (spec "Liveness and the peer
table", "Peer discovery").

A row says what a node is and how it was when it last said so; that it still lives is a beat of its own, which leaves no
version behind. Of the nodes that live, the one with the lowest id retires the rows whose beat has stopped.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import msgspec

from memql.auth import system
from memql.engine.context import RequestContext, format_instant
from memql.engine.engine import Engine
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.mesh.discovery.topology import NodeRow, sweeps
from memql.mesh.options import Options
from memql.mesh.peers import Health

__all__ = ["CONCEPT", "Registry", "Self", "new_incarnation"]

log = logging.getLogger(__name__)

CONCEPT: Final = "v1:cluster:node"

_ACTOR: Final = system("system:mesh")
_PROVENANCE: Final = {"kind": "system", "name": "mesh"}
_INSERT: Final = f'insert("{CONCEPT}", id=$id, payload=$payload)'
_OFFLINE: Final = f'update("{CONCEPT}", id=$id, payload=$payload)'
_DELETE: Final = f'delete("{CONCEPT}", id=$id, reason="gone")'

_BEAT: Final = """
INSERT INTO mesh_cursors AS seen (consumer_id, source, position) VALUES (%s, %s, 1)
ON CONFLICT (consumer_id, source) DO UPDATE SET position = seen.position + 1, updated_at = clock_timestamp()
"""

_BEATS: Final = """
SELECT source, position FROM mesh_cursors WHERE consumer_id = %s AND source LIKE 'presence:%%' AND source <> %s
"""

_ROWS: Final = f"""
SELECT substr(node.id, {len(CONCEPT) + 2}), node.payload::text,
       extract(epoch FROM clock_timestamp() - coalesce((
           SELECT max(seen.updated_at) FROM mesh_cursors AS seen
           WHERE seen.consumer_id = substr(node.id, {len(CONCEPT) + 2}) AND seen.source LIKE 'presence:%'
       ), node.created_at))::float8
FROM memory_heads AS node WHERE node.concept = '{CONCEPT}' AND NOT node.deleted
"""

_GONE: Final = "DELETE FROM mesh_cursors WHERE consumer_id = %s AND source LIKE 'presence:%%'"
_LEAVE: Final = "DELETE FROM mesh_cursors WHERE consumer_id = %s AND source = %s"


def new_incarnation() -> str:
    """What tells one life of a node from the next: later ones are greater."""
    return f"{time.time_ns() // 1_000_000:012x}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What a node writes about itself."""

    id: str
    type: str
    address: str
    version: str
    incarnation: str
    flavor: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    started_at: datetime


class Registry:
    """The rows as one node writes and reads them.

    :param health: how this node is now.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        own: Self,
        options: Options,
        health: Callable[[], Health],
    ) -> None:
        self.own = own
        self._database = database
        self._engine = engine
        self._options = options
        self._health = health
        self._presence = f"presence:{own.incarnation}"
        self._others: dict[str, int] = {}
        self._changed = anyio.Event()
        self._left = False
        self._writing = anyio.Lock()

    def changed(self) -> None:
        """This node's health has changed: write it soon."""
        self._changed.set()

    async def begin(self) -> None:
        """Write this node down before it is ready.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        await self._beat()
        await self._announce()

    async def run(self) -> None:
        """Beat, keep the own row true, and retire those of others where that is this node's part; for ever.

        :raises MemqlError: ``CONFIG_INVALID`` when another node with this one's id was there first.
        """
        while True:
            with anyio.move_on_after(self._options.rows_every):
                await self._changed.wait()
            self._changed = anyio.Event()
            try:
                await self._look()
            except MemqlError as error:
                if error.code is Code.CONFIG_INVALID:
                    raise
                log.warning("the rows of nodes cannot be kept: %s", error.message)

    async def leave(self) -> None:
        """Say that this node has stopped.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        async with self._writing:
            self._left = True
            await self._announce(Health.STOPPED)
            await self._database.execute(_LEAVE, (self.own.id, self._presence))

    async def rows(self) -> Sequence[NodeRow]:
        """Every node that the database knows, this one included.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        found = await self._database.fetch(_ROWS)
        return [_row(node_id, msgspec.json.decode(payload), age) for node_id, payload, age in found]

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        async with self._writing:
            # What was said last is that this node has stopped.
            if not self._left:
                await self._look_around()

    async def _look_around(self) -> None:
        await self._beat()
        await self._require_alone()
        rows = await self.rows()
        mine = next((row for row in rows if row.id == self.own.id), None)
        if mine is None or (mine.health, mine.incarnation) != (self._health().name.lower(), self.own.incarnation):
            await self._announce()
        if sweeps(self.own.id, rows, self._options.rows_grace):
            await self._retire(rows)

    async def _beat(self) -> None:
        await self._database.execute(_BEAT, (self.own.id, self._presence))

    async def _require_alone(self) -> None:
        """Two live processes with one id would take each other's events: the younger one goes."""
        beats = dict(await self._database.fetch(_BEATS, (self.own.id, self._presence)))
        alive = [source for source, count in beats.items() if count > self._others.get(source, count)]
        self._others = beats
        elder = [source for source in alive if source < self._presence]
        if elder:
            raise MemqlError(
                Code.CONFIG_INVALID,
                f"another live node has the id {self.own.id!r} and was there first; give each its own MEMQL_NODE_ID",
            )
        if alive:
            log.error("another live node has the id %s too; it was started later and will stop", self.own.id)

    async def _announce(self, health: Health | None = None) -> None:
        own = self.own
        payload = {
            "nodeType": own.type,
            "address": own.address,
            "health": (health or self._health()).name.lower(),
            "version": own.version,
            "flavor": own.flavor,
            "labels": dict(own.labels),
            "startedAt": format_instant(own.started_at.astimezone(UTC)),
            "incarnation": own.incarnation,
        }
        await self._write(_INSERT, id=own.id, payload=payload)

    async def _retire(self, rows: Sequence[NodeRow]) -> None:
        for row in rows:
            silent = row.age
            if row.id == self.own.id or silent < self._options.rows_grace:
                continue
            if silent >= self._options.rows_prune and row.health in {"offline", "stopped"}:
                log.info("the row of %s is deleted: nothing was heard of it for a long time", row.id)
                await self._write(_DELETE, id=row.id)
                await self._database.execute(_GONE, (row.id,))
            elif row.health not in {"offline", "stopped"}:
                log.warning("%s/%s is retired: it has shown no life for %.0f s", row.type, row.id, silent)
                await self._write(_OFFLINE, id=row.id, payload={"health": "offline"})

    async def _write(self, text: str, **variables: Any) -> None:
        context = RequestContext(actor=_ACTOR, variables=variables, provenance=_PROVENANCE)
        await self._engine.execute(text, actor=_ACTOR, variables=variables, context=context)


def _row(node_id: str, payload: dict[str, Any], age: float) -> NodeRow:
    return NodeRow(
        id=node_id,
        type=payload.get("nodeType", ""),
        address=payload.get("address", ""),
        health=payload.get("health", ""),
        age=age,
        incarnation=payload.get("incarnation", ""),
        version=payload.get("version", ""),
        flavor=payload.get("flavor", ""),
    )
