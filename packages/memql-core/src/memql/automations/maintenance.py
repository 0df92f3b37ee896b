"""Keeps the tables of the automations small, and says now and then how they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import structlog

from memql.automations.claims import Claims
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.replay import Replay
from memql.errors import MemqlError
from memql.events.outbox import Outbox
from memql.graph.database import Database

__all__ = ["Maintenance"]

_log = structlog.get_logger("memql.automations")

_PRUNE_FIRINGS = "DELETE FROM cron_firings WHERE fired_at < clock_timestamp() - %s"


class Maintenance:
    """Prunes, and writes the summary line."""

    def __init__(
        self,
        database: Database,
        claims: Claims,
        outbox: Outbox,
        replays: Sequence[Replay],
        counts: Counts,
        options: Options,
    ) -> None:
        self._database = database
        self._claims = claims
        self._outbox = outbox
        self._replays = replays
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

        Claims stay while replay lags: an event that is replayed without its claim would run a second time.
        """
        retention = self._options.retention
        await self._database.execute(_PRUNE_FIRINGS, (timedelta(seconds=self._options.firing_retention),))
        await self._claims.abandon(retention)
        if any(replay.behind() > retention / 2 for replay in self._replays):
            _log.warning("automation_claims_kept", reason="replay lags behind; finished claims are not pruned")
            return 0
        if self._options.outbox_retention > 0:
            await self._outbox.prune(self._options.outbox_retention)
        gone = await self._claims.prune(retention)
        self._counts.add("pruned", gone)
        return gone
