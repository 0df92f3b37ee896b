"""Fires schedules: each instant once, by the leader, as a durable row that carries the claim of its run.

An instant fires in one statement on the leader's own session: the firing row, the schedule's progress and the
claim of the run are there together or not at all, and only while the leader's epoch is the newest. So whoever
leads next reads what has fired, fires what has not, and cannot fire anything twice. A run that the leader lacks the
executors for is left to others: its claim has no owner, and the next node that can takes it over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio
import structlog

from memql.automations.claims import Claim
from memql.automations.compiled import CompiledAutomation
from memql.automations.cron import instants, next_instant
from memql.automations.leader import Leadership, leadership
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.stored_event import encode_event
from memql.engine.context import format_instant
from memql.errors import MemqlError
from memql.events.event import Event, to_micros
from memql.graph.database import Database

__all__ = ["Scheduler", "schedule_event"]

_log = structlog.get_logger("memql.automations")

_MOST_AT_ONCE: Final = 200

_KNOW = """
INSERT INTO cron_schedules AS known (automation_name, schedule, fired_until)
SELECT name, schedule, clock_timestamp() FROM unnest(%s::text[], %s::text[]) AS wanted (name, schedule)
ON CONFLICT (automation_name) DO UPDATE SET schedule = EXCLUDED.schedule, fired_until = CASE
    WHEN known.schedule = EXCLUDED.schedule THEN known.fired_until
    ELSE greatest(known.fired_until, EXCLUDED.fired_until) END
RETURNING automation_name, fired_until
"""

_FIRE = """
WITH reign AS (
    SELECT epoch FROM cron_leadership WHERE epoch = %(epoch)s FOR SHARE
), due AS (
    SELECT wanted.* FROM reign,
        unnest(%(names)s::text[], %(instants)s::timestamptz[], %(keys)s::text[], %(events)s::bytea[], %(here)s::bool[])
        AS wanted (name, instant, key, event, here)
    WHERE wanted.instant <= clock_timestamp()
), fired AS (
    INSERT INTO cron_firings (automation_name, scheduled_at, fired_by, epoch)
    SELECT name, instant, %(owner)s, %(epoch)s FROM due
    ON CONFLICT (automation_name, scheduled_at) DO NOTHING
    RETURNING automation_name, scheduled_at
), moved AS (
    UPDATE cron_schedules AS known SET fired_until = greatest(known.fired_until, latest.instant)
    FROM (SELECT name, max(instant) AS instant FROM due GROUP BY name) AS latest
    WHERE known.automation_name = latest.name
)
INSERT INTO automation_execution_claims (automation_name, dedup_key, claimed_by, epoch, lease_until, event)
SELECT due.name, due.key, CASE WHEN due.here THEN %(owner)s ELSE '' END, due.here::int,
       clock_timestamp() + CASE WHEN due.here THEN %(lease)s ELSE interval '0' END, due.event
FROM due JOIN fired ON fired.automation_name = due.name AND fired.scheduled_at = due.instant
ORDER BY due.instant
ON CONFLICT (automation_name, dedup_key) DO NOTHING
RETURNING automation_name, dedup_key, epoch, started_at, event
"""


@dataclass(slots=True)
class _Schedule:
    name: str
    schedule: str
    fired_until: datetime


def schedule_event(name: str, schedule: str, instant: datetime) -> Event:
    """The event of one firing: topic ``schedule.<automation>``, stamped with the scheduled instant."""
    return Event(
        id=f"cron:{format_instant(instant)}",
        topic=f"schedule.{name}",
        body={"automation": name, "schedule": schedule, "scheduledAt": format_instant(instant)},
        micros=to_micros(instant),
        actor=f"system:automation:{name}",
    )


class Scheduler:
    """Leads when it can, and fires while it leads.

    :param owner: the incarnation of this process.
    :param fired: takes the claim of a firing and runs it.
    """

    def __init__(
        self,
        database: Database,
        owner: str,
        fired: Callable[[Claim], Awaitable[None]],
        counts: Counts,
        options: Options,
    ) -> None:
        self._database = database
        self._owner = owner
        self._fired = fired
        self._counts = counts
        self._options = options
        self._wanted: dict[str, str] = {}
        self._runnable: Collection[str] = ()
        self._generation = 0
        self.is_leader = False

    def use(self, tree: Mapping[str, CompiledAutomation], runnable: Collection[str]) -> None:
        """Serve another tree from the next tick on.

        :param runnable: the automations that run on this node; the others fire here too.
        """
        self._runnable = runnable
        schedules = {name: one.automation.trigger.schedule for name, one in tree.items()}
        self._wanted = {name: schedule for name, schedule in schedules.items() if schedule}
        self._generation += 1

    async def run(self) -> None:
        """Stand for leader, for ever; lead when it is this process's turn. Without a database nothing
        fires."""
        while True:
            try:
                async with leadership(self._database, self._owner, self._options.leader_poll) as reign:
                    self.is_leader = True
                    await self._lead(reign)
            except MemqlError as error:
                _log.warning("cron_leader_stopped", owner=self._owner, error=error.message)
            finally:
                self.is_leader = False
            await anyio.sleep(self._options.leader_poll)

    async def _lead(self, reign: Leadership) -> None:
        schedules: list[_Schedule] = []
        generation = -1
        while True:
            now: datetime = await reign.clock()
            if generation != self._generation:
                generation = self._generation
                schedules = await self._know(reign)
            due = [firing for one in schedules for firing in self._due(one, now)][:_MOST_AT_ONCE]
            if due:
                await self._fire(reign, due)
                continue
            await anyio.sleep(self._until_next(schedules, now))

    async def _know(self, reign: Leadership) -> list[_Schedule]:
        """Make the schedules of the tree known; a new or changed one starts now and owes nothing from
        before."""
        names = list(self._wanted)
        rows = await reign.call(_KNOW, (names, [self._wanted[name] for name in names]))
        return [_Schedule(name, self._wanted[name], fired_until) for name, fired_until in rows]

    def _due(self, one: _Schedule, now: datetime) -> Sequence[tuple[_Schedule, datetime]]:
        earliest = now - timedelta(seconds=self._options.catch_up)
        if one.fired_until < earliest:
            self._counts.add("cron_passed_over")
            _log.warning(
                "cron_instants_passed_over",
                automation=one.name,
                after=format_instant(one.fired_until),
                until=format_instant(earliest),
            )
            one.fired_until = earliest
        due: list[tuple[_Schedule, datetime]] = []
        for instant in instants(one.schedule, one.fired_until):
            if instant > now or len(due) >= _MOST_AT_ONCE:
                break
            due.append((one, instant))
        return due

    async def _fire(self, reign: Leadership, due: Sequence[tuple[_Schedule, datetime]]) -> None:
        events = [schedule_event(one.name, one.schedule, instant) for one, instant in due]
        rows = await reign.call(
            _FIRE,
            {
                "epoch": reign.epoch,
                "owner": self._owner,
                "lease": timedelta(seconds=self._options.lease),
                "names": [one.name for one, _ in due],
                "instants": [instant for _, instant in due],
                "keys": [event.id for event in events],
                "events": [encode_event(event) for event in events],
                "here": [one.name in self._runnable for one, _ in due],
            },
        )
        for one, instant in due:
            one.fired_until = max(one.fired_until, instant)
        self._counts.add("cron_fired", len(rows))
        self._counts.add("left_to_others", sum(epoch == 0 for _, _, epoch, _, _ in rows))
        for name, key, epoch, started_at, event in rows:
            if epoch == 0:
                continue
            claim = Claim(name=name, key=key, owner=self._owner, epoch=epoch, started_at=started_at, event=bytes(event))
            await self._fired(claim)

    def _until_next(self, schedules: Sequence[_Schedule], now: datetime) -> float:
        """Seconds to the next instant, at most one poll: the lock is verified that often anyway."""
        upcoming = (next_instant(one.schedule, max(now, one.fired_until)) for one in schedules)
        waits = [(instant - now).total_seconds() for instant in upcoming if instant is not None]
        return max(0.001, min([*waits, self._options.leader_poll]))
