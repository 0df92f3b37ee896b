"""Which role brings which executors, so that an automation that no role can run is told (spec "Durable substrate")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from memql.automations.placement import Placement
from memql.graph.database import Database

__all__ = ["Places"]

_log = structlog.get_logger("memql.automations")

_ANNOUNCE = """
WITH mine AS (
    INSERT INTO automation_places (consumer_id, executors) VALUES (%s, %s)
    ON CONFLICT (consumer_id) DO UPDATE SET executors = EXCLUDED.executors, updated_at = clock_timestamp()
)
SELECT executors FROM automation_places AS place WHERE consumer_id <> %s AND EXISTS (
    SELECT FROM mesh_cursors WHERE consumer_id = place.consumer_id AND lapsed_at IS NULL
)
"""


class Places:
    """What the roles of a cluster bring, as their nodes said when they started."""

    def __init__(self, database: Database, consumer: str) -> None:
        self._database = database
        self._consumer = consumer

    async def announce(self, executors: Collection[str], placement: Placement) -> None:
        """Say what this node brings, and warn of automations that no role known so far can run.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        rows = await self._database.fetch(_ANNOUNCE, (self._consumer, sorted(executors), self._consumer))
        for name, missing in nowhere(
            placement.needs, [frozenset(executors), *(frozenset(row[0]) for row in rows)]
        ).items():
            _log.warning(
                "automation_runs_nowhere",
                automation=name,
                missing_executors=sorted(missing),
                hint="no role seen so far brings them; the automation waits until one does",
            )


def nowhere(needs: Mapping[str, frozenset[str]], places: Sequence[frozenset[str]]) -> dict[str, frozenset[str]]:
    """The automations that fit no place, each with what it lacks where it lacks least."""
    lacking = {name: min((needed - place for place in places), key=len) for name, needed in needs.items()}
    return {name: missing for name, missing in lacking.items() if missing}
