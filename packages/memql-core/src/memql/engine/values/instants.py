"""Instants and durations: RFC 3339 texts to moments and back, ISO 8601 durations (spec "Functions")."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache

from memql.engine.context import format_instant
from memql.errors import Code, MemqlError

__all__ = ["Duration", "add_duration", "days_between", "parse_duration", "parse_instant", "require_instant"]

_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d+))?([Zz]|[+-](?:0\d|1[0-5]):[0-5]\d))?", re.ASCII
)
_DURATION = re.compile(
    r"(?P<sign>[+-])?P"
    r"(?:(?P<years>[+-]?\d+)Y)?(?:(?P<months>[+-]?\d+)M)?(?:(?P<weeks>[+-]?\d+)W)?(?:(?P<days>[+-]?\d+)D)?"
    r"(?P<time>T(?:(?P<hours>[+-]?\d+)H)?(?:(?P<minutes>[+-]?\d+)M)?(?:(?P<seconds>[+-]?\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_DAY = timedelta(days=1)


@lru_cache(maxsize=4096)
def parse_instant(text: str) -> datetime | None:
    """The moment an RFC 3339 date-time names, in UTC; a plain date is its midnight UTC; None for any other
    text.

    Fractions beyond microseconds are rounded, as PostgreSQL does.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, offset = match.groups()
    try:
        if time is None:
            return datetime.fromisoformat(date).replace(tzinfo=UTC)
        zone = "+00:00" if offset in ("Z", "z") else offset
        moment = datetime.fromisoformat(f"{date}T{time}{zone}").astimezone(UTC)
        if fraction:
            moment += timedelta(microseconds=round(Fraction(int(fraction), 10 ** len(fraction)) * 1_000_000))
    except (ValueError, OverflowError):
        return None
    return moment


def require_instant(value: object, function: str) -> datetime:
    """The moment a value names.

    :raises MemqlError: ``INVALID_ARGUMENT`` naming ``function`` when it names none.
    """
    moment = parse_instant(value) if isinstance(value, str) else None
    if moment is None:
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"{function}: {value!r} is not a date-time; expected RFC 3339 such as 2026-03-05T00:00:00Z",
        )
    return moment


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar months, then an exact rest."""

    months: int
    rest: timedelta


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> Duration:
    """An ISO 8601 duration; the whole or any part may be negative (``-P3D``, ``PT-30M``).

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = match.groupdict() if match else {}
    numbers = {name: part for name, part in parts.items() if part and name not in ("sign", "time")}
    if not numbers or parts.get("time") == "T":
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"{text!r} is not an ISO 8601 duration; expected a form such as P3D, -P1M or PT30M",
        )
    sign = -1 if parts["sign"] == "-" else 1

    def whole(name: str) -> int:
        return sign * int(numbers.get(name, "0"))

    try:
        rest = timedelta(
            weeks=whole("weeks"),
            days=whole("days"),
            hours=whole("hours"),
            minutes=whole("minutes"),
            microseconds=sign * round(Fraction(numbers.get("seconds", "0")) * 1_000_000),
        )
    except OverflowError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the duration {text!r} is too long") from error
    return Duration(12 * whole("years") + whole("months"), rest)


def _shift_months(moment: datetime, months: int) -> datetime:
    years, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= years <= 9999:
        raise OverflowError
    return moment.replace(year=years, month=month + 1, day=min(moment.day, monthrange(years, month + 1)[1]))


def add_duration(start: object, duration: object) -> str:
    """``start`` plus a duration: months first, clamped to the length of the month, then the rest.

    :raises MemqlError: ``INVALID_ARGUMENT`` for anything that is no date-time, no duration, or leaves years
        1-9999.
    """
    moment = require_instant(start, "addDuration")
    if not isinstance(duration, str):
        raise MemqlError(Code.INVALID_ARGUMENT, f"addDuration: {duration!r} is not a duration such as P3D")
    parsed = parse_duration(duration)
    try:
        return format_instant(_shift_months(moment, parsed.months) + parsed.rest)
    except OverflowError as error:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"addDuration: {start} plus {duration} is outside the years 1 to 9999"
        ) from error


def days_between(start: object, end: object) -> int:
    """Whole days from ``start`` to ``end``, truncated towards zero; negative when ``end`` is earlier.

    :raises MemqlError: ``INVALID_ARGUMENT`` for anything that is no date-time.
    """
    span = require_instant(end, "daysBetween") - require_instant(start, "daysBetween")
    return span // _DAY if span >= timedelta(0) else -(-span // _DAY)
