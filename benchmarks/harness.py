"""How a benchmark measures: ours and the baseline by turns, the round in the middle, one ratio."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Row", "faster_is_better", "measure", "middle", "paired"]

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. ``limit`` bounds the ratio from above, or from below when ``at_least`` is set."""

    what: str
    against: str
    ours: float
    baseline: float
    unit: str
    limit: float
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """Ours by the baseline."""
        return self.ours / self.baseline

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    @property
    def goal(self) -> str:
        """The goal as written in the table."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}×"

    def cells(self) -> tuple[str, ...]:
        """The cells of the table, left to right."""
        return (
            self.what,
            self.against,
            f"{_number(self.ours)} {self.unit}",
            f"{_number(self.baseline)} {self.unit}",
            f"{self.ratio:.2f}×",
            self.goal,
            "yes" if self.met else "no",
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


async def _timed(work: Work, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        await work()
    return (time.perf_counter() - started) / calls


async def paired(ours: Work, baseline: Work, *, calls: int, rounds: int = 9) -> tuple[float, float]:
    """Seconds per call of each, from the round with the median ratio. A round times both, one right after the other,
    so that a slow moment of the machine hits both; many short rounds tell more than a few long ones. The first round
    of each warms up and does not count.

    :param rounds: odd.
    """
    await _timed(ours, calls)
    await _timed(baseline, calls)
    found: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            works = (ours, baseline) if turn % 2 else (baseline, ours)
            first, second = [await _timed(work, calls) for work in works]
            found.append((first, second) if turn % 2 else (second, first))
    finally:
        gc.enable()
    return sorted(found, key=lambda pair: pair[0] / pair[1])[rounds // 2]


def middle(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """Of several rounds of ours and the baseline, the one with the median ratio."""
    return sorted(rounds, key=lambda pair: pair[0] / pair[1])[len(rounds) // 2]


async def measure(work: Work, *, calls: int, rounds: int = 5) -> float:
    """Seconds per call, the median over rounds after a warm-up."""
    await _timed(work, calls)
    return statistics.median([await _timed(work, calls) for _ in range(rounds)])


def faster_is_better(what: str, against: str, seconds: tuple[float, float], limit: float, *, unit: str = "ms") -> Row:
    """A row of times, from seconds per call."""
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit]
    return Row(
        what=what,
        against=against,
        ours=seconds[0] * scale,
        baseline=seconds[1] * scale,
        unit=unit,
        limit=limit,
    )
