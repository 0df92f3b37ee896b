"""Cuts connections of nodes to their database, from another session."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from memql.graph.database import Database

__all__ = ["Cuts", "cut"]

_EVERY = 0.2
_CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'memql'"
)


@dataclass
class Cuts:
    """How often everything was cut, and how many connections that ended."""

    cuts: int = 0
    connections: int = 0


async def cut(dsn: str, cuts: Cuts) -> None:
    """End every session of every node five times a second, until cancelled."""
    async with Database.open(dsn, application_name="cutter") as database:
        while True:
            row = await database.fetch_one(_CUT)
            assert row is not None
            cuts.cuts += 1
            cuts.connections += row[0]
            await anyio.sleep(_EVERY)
