"""Writes through the nodes of a fleet, and who has seen the events of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import anyio
from fleet import Fleet

from memql.client import Client
from memql.errors import MemqlError
from memql.graph.database import Database

__all__ = ["TOPIC", "logged", "seen_by", "sightings", "wait_until_seen", "write"]

TOPIC = "graph.node.created.v1:cognition:utterance"
"""What the writes are published as; the rules of the mesh send it to every node."""

_AT_ONCE = 12
_PAUSE = 0.1

_INSERT = 'insert("v1:cognition:utterance", id=$id, payload={text: $text})'
_LOGGED = "SELECT 'g:' || seq || ':created' FROM memory_nodes WHERE concept = 'v1:cognition:utterance'"


async def write(fleet: Fleet, node_id: str, numbers: Iterable[int], *, seconds: float = 0.0) -> None:
    """Write through one node until every number is acknowledged; a write whose answer was lost is repeated.

    :param seconds: how long it shall take at least, evenly spread.
    """
    waiting = list(numbers)[::-1]
    pause = seconds * _AT_ONCE / len(waiting)
    while waiting:
        with suppress(MemqlError):
            async with fleet.client(node_id) as client:
                while waiting:
                    await _write_some(client, waiting)
                    await anyio.sleep(pause)
        await anyio.sleep(_PAUSE)


async def _write_some(client: Client, waiting: list[int]) -> None:
    batch = waiting[-_AT_ONCE:]
    failed: list[tuple[int, MemqlError]] = []

    async def one(number: int) -> None:
        try:
            await client.execute(_INSERT, {"id": f"u{number}", "text": "x" * 200}, timeout=10)
        except MemqlError as error:
            failed.append((number, error))

    async with anyio.create_task_group() as tasks:
        for number in batch:
            tasks.start_soon(one, number)
    del waiting[-_AT_ONCE:]
    waiting.extend(number for number, _ in failed)
    if failed:
        raise failed[0][1]


async def logged(database: Database) -> frozenset[str]:
    """The ids of the events of all writes that the log has."""
    return frozenset(row[0] for row in await database.fetch(_LOGGED))


def seen_by(fleet: Fleet, node_id: str) -> set[str]:
    """Every write that a node has seen, in any of its lives."""
    return {event_id for life in fleet.nodes[node_id].sightings(TOPIC).values() for event_id in life}


async def wait_until_seen(fleet: Fleet, node_ids: Collection[str], events: Collection[str], seconds: float) -> None:
    """Wait until these nodes have seen these writes. Returns without a word when they do not: :func:`sightings` tells
    what is missing."""
    with anyio.move_on_after(seconds):
        while any(set(events) - seen_by(fleet, node_id) for node_id in node_ids):  # noqa: ASYNC110  other processes
            await anyio.sleep(0.2)


def sightings(fleet: Fleet, node_ids: Iterable[str], events: Collection[str]) -> list[dict[str, object]]:
    """What became of these writes on these nodes, a row each: how many were lost, and how many one life saw twice."""
    return [_sightings(fleet, node_id, set(events)) for node_id in node_ids]


def _sightings(fleet: Fleet, node_id: str, events: set[str]) -> dict[str, object]:
    lives = fleet.nodes[node_id].sightings(TOPIC)
    lost = len(events - seen_by(fleet, node_id))
    return {
        "node": node_id,
        "events": len(events),
        "lost": lost,
        "doubled": sum(count > 1 for life in lives.values() for count in life.values()),
        "lives": len(lives),
        "seen again by a later life": sum(map(len, lives.values())) - len(events) + lost,
    }
