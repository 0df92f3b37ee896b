"""Date-times and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.engine.context import format_instant
from memql.engine.values.instants import add_duration, days_between, parse_instant
from memql.errors import MemqlError


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_text_of_a_moment_reads_back_as_the_same_moment(moment: datetime) -> None:
    text = format_instant(moment) if moment.year >= 1000 else moment.isoformat().replace("+00:00", "Z")
    assert parse_instant(text) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "2026-3-5", "2026-02-30", "2026-03-05T10:00", "2026-03-05 10:00:00Z", "20260305"]
)
def test_texts_in_other_forms_are_no_moments(text: str) -> None:
    assert parse_instant(text) is None


def test_fractions_beyond_microseconds_are_rounded() -> None:
    assert parse_instant("2026-03-05T00:00:00.9999999Z") == datetime(2026, 3, 5, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "end"),
    [
        ("P1D", "2026-02-01T00:00:00.000000Z"),
        ("-P3D", "2026-01-28T00:00:00.000000Z"),
        ("PT-30M", "2026-01-30T23:30:00.000000Z"),
        ("P1M", "2026-02-28T00:00:00.000000Z"),
        ("P1Y1M1DT1.5S", "2027-03-01T00:00:01.500000Z"),
        ("P2W", "2026-02-14T00:00:00.000000Z"),
    ],
)
def test_months_clamp_and_the_rest_is_exact(duration: str, end: str) -> None:
    assert add_duration("2026-01-31T00:00:00Z", duration) == end


@pytest.mark.parametrize("duration", ["", "P", "PT", "P1DT", "3 days", "P1H", None, 5])
def test_what_is_no_duration_is_refused(duration: object) -> None:
    with pytest.raises(MemqlError, match="duration"):
        add_duration("2026-01-31T00:00:00Z", duration)


def test_a_duration_cannot_leave_the_calendar() -> None:
    for duration in ("P9000Y", "P4000000D", "-P2026Y"):
        with pytest.raises(MemqlError):
            add_duration("2026-01-31T00:00:00Z", duration)


@given(st.integers(-10_000, 10_000))
def test_days_between_counts_whole_days_towards_zero(hours: int) -> None:
    start = datetime(2026, 1, 31, tzinfo=UTC)
    end = start + timedelta(hours=hours)
    assert days_between(format_instant(start), format_instant(end)) == int(hours / 24)
