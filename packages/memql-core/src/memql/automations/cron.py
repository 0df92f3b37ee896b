"""Instants of cron schedules: five or six fields, seconds first, in UTC (spec "Annotations",
``@trigger``)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from croniter import croniter
from croniter.croniter import CroniterError

from memql.errors import Code, MemqlError

__all__ = ["check_schedule", "instants", "next_instant"]


@lru_cache(maxsize=1024)
def check_schedule(schedule: str) -> str:
    """The six-field form, seconds first; five fields get second 0.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is no schedule.
    """
    fields = schedule.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    normal = " ".join(fields)
    if len(fields) == 6 and croniter.is_valid(normal, second_at_beginning=True):
        return normal
    raise MemqlError(
        Code.INVALID_ARGUMENT,
        f'{schedule!r} is no schedule: expected "second minute hour day month weekday", such as "0 15 6 * * *"',
    )


def next_instant(schedule: str, after: datetime) -> datetime | None:
    """The first instant of the schedule later than ``after``; None when there is none within the next years.

    :raises MemqlError: as :func:`check_schedule`.
    """
    return next(instants(schedule, after), None)


def instants(schedule: str, after: datetime) -> Iterator[datetime]:
    """All instants of the schedule later than ``after``, in order.

    :raises MemqlError: as :func:`check_schedule`.
    """
    normal = check_schedule(schedule)
    times = croniter(normal, after.astimezone(UTC), second_at_beginning=True)
    while True:
        try:
            yield times.get_next(datetime)
        except CroniterError:
            return
