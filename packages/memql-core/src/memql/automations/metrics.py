"""What the automations of a process report: Prometheus metrics, and plain counts for the summary line and
tests."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["ACTIVE_RUNS", "CRON_LEADER", "Counts", "observe_run"]

_EVENTS = Counter(
    "memql_automation_guard_total",
    "What the execution guard decided, and what became of runs and schedules",
    ["outcome"],
)
_RUN_SECONDS = Histogram("memql_automation_run_seconds", "How long runs of automations took", ["automation", "status"])
ACTIVE_RUNS = Gauge("memql_automation_active_runs", "Runs under way in this process")
CRON_LEADER = Gauge("memql_cron_leader", "1 while this process fires schedules")


@dataclass(slots=True)
class Counts:
    """Counts since start. ``claimed``, ``duplicates_prevented`` and ``claim_errors`` are those of the guard's
    summary. ``left_to_others`` counts runs that need what this node lacks, ``adopted`` those that it found without an
    owner: left by others, or ``deferred``. ``cursor_gaps`` tells how often a role came back too late to catch up."""

    claimed: int = 0
    duplicates_prevented: int = 0
    claim_errors: int = 0
    unguarded: int = 0
    take_overs: int = 0
    left_to_others: int = 0
    adopted: int = 0
    claims_lost: int = 0
    deferred: int = 0
    runs_completed: int = 0
    runs_failed: int = 0
    attempts_repeated: int = 0
    refused_events: int = 0
    loops_stopped: int = 0
    events_dropped: int = 0
    storms: int = 0
    cron_fired: int = 0
    cron_passed_over: int = 0
    cursor_gaps: int = 0
    pruned: int = 0

    def add(self, name: str, amount: int = 1) -> None:
        """Count, here and in Prometheus."""
        setattr(self, name, getattr(self, name) + amount)
        _child(name).inc(amount)

    def to_dict(self) -> dict[str, int]:
        """All counts by name."""
        return asdict(self)


def observe_run(automation: str, status: str, seconds: float) -> None:
    """A run has ended."""
    _run_seconds(automation, status).observe(seconds)


@cache
def _run_seconds(automation: str, status: str) -> Histogram:
    return _RUN_SECONDS.labels(automation, status)


@cache
def _child(outcome: str) -> Counter:
    return _EVENTS.labels(outcome)
