"""Cron schedules: ``second minute hour day month weekday``, or five fields for second 0 (spec "Annotations")."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["normalise_schedule", "schedule_problem"]

_FIELDS: Final = (
    ("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7),
)  # fmt: skip
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: Final = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "weekday": {name: number for number, name in enumerate(_WEEKDAYS)},
}
_PART: Final = re.compile(r"(?P<low>\*|[0-9]+|[A-Za-z]{3})(?:-(?P<high>[0-9]+|[A-Za-z]{3}))?(?:/(?P<step>[0-9]+))?")
_DAYS_OF_MONTH: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def normalise_schedule(schedule: str) -> str:
    """Six fields, single blanks; five get second 0."""
    fields = schedule.split()
    return " ".join(["0", *fields] if len(fields) == 5 else fields)


def schedule_problem(schedule: str) -> str:
    """What is wrong with a schedule; nothing when it can fire."""
    fields = normalise_schedule(schedule).split()
    if len(fields) != len(_FIELDS):
        return f"{schedule!r} has {len(fields)} fields; a schedule is: second minute hour day month weekday"
    for text, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if problem := _part_problem(part, name, low, high):
                return f"{problem} in the {name} field {text!r}"
    return _never(fields[3], fields[4], fields[5])


def _part_problem(part: str, name: str, low: int, high: int) -> str:
    match = _PART.fullmatch(part)
    if match is None:
        return f"{part!r} is neither *, a number, a range nor a step"
    if match["step"] is not None and not 1 <= int(match["step"]) <= high:
        return f"the step {match['step']} is not between 1 and {high}"
    if match["low"] == "*":
        return f"{part!r} mixes * and a range" if match["high"] else ""
    bounds = [_number(text, name) for text in (match["low"], match["high"]) if text]
    if any(bound is None or not low <= bound <= high for bound in bounds):
        return f"{part!r} is not between {low} and {high}"
    if len(bounds) == 2 and (bounds[0] or 0) > (bounds[1] or 0):
        return f"the range {part!r} runs backwards"
    return ""


def _number(text: str, name: str) -> int | None:
    return int(text) if text.isdigit() else _NAMES.get(name, {}).get(text.lower())


def _never(day: str, month: str, weekday: str) -> str:
    """A fixed day that none of the fixed months has, such as 30 February."""
    months = [_number(text, "month") for text in month.split(",")]
    if weekday != "*" or not day.isdigit() or any(one is None for one in months):
        return ""
    if all(int(day) > _DAYS_OF_MONTH.get(one or 0, 31) for one in months):
        return f"no month {month} has a day {day}, so it never fires"
    return ""
