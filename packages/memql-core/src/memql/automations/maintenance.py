"""Keeps the tables of the automations small, and says now and then how they do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

import anyio
import structlog

from memql.automations.claims import Claims
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import MemqlError
from memql.events.cursors import Cursors
from memql.events.outbox import Outbox
from memql.graph.database import Database

__all__ = ["Maintenance"]

_log = structlog.get_logger("memql.automations")

_PRUNE_FIRINGS = "DELETE FROM cron_firings WHERE fired_at < clock_timestamp() - %s"


class Maintenance:
    """Prunes, and writes the summary line.

    :param known: the automations of the tree in force.
    """

    def __init__(
        self,
        database: Database,
        claims: Claims,
        outbox: Outbox,
        cursors: Cursors,
        known: Callable[[], Collection[str]],
        counts: Counts,
        options: Options,
    ) -> None:
        self._database = database
        self._claims = claims
        self._outbox = outbox
        self._cursors = cursors
        self._known = known
        self._counts = counts
        self._options = options

    async def run(self) -> None:
        """Prune for ever."""
        while True:
            await anyio.sleep(self._options.prune_every)
            try:
                await self.prune()
            except MemqlError as error:
                _log.warning("automation_prune_failed", error=error.message)
            _log.info("automation_summary", **self._counts.to_dict())

    async def prune(self) -> int:
        """Drop what is past its retention; gives how many claims went.

        Claims and kept events stay while a role lags that may still need them.
        """
        options = self._options
        await self._database.execute(_PRUNE_FIRINGS, (timedelta(seconds=options.firing_retention),))
        await self._claims.abandon(
            self._known(),
            left=options.catch_up,
            unknown=options.retention,
            interrupted=options.outbox_retention or None,
        )
        if options.outbox_retention > 0:
            await self._forget_old(options.outbox_retention)
        for role, source, behind in await self._cursors.laggards(options.retention):
            _log.warning("automation_claims_kept", role=role, source=source, behind_seconds=behind)
        gone = await self._claims.prune(options.retention)
        self._counts.add("pruned", gone)
        return gone

    async def _forget_old(self, retention: float) -> None:
        for role, source in await self._cursors.lapse(retention):
            _log.warning("automation_cursor_lapsed", role=role, source=source, unused_for_seconds=retention)
        if not any(laggard.source == "outbox" for laggard in await self._cursors.laggards(retention)):
            await self._outbox.prune(retention)
