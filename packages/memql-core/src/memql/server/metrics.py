"""What ``/metrics`` tells about the server."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["active_streams", "no_auth", "observe", "streams_closed"]

active_streams = Gauge("memql_active_streams", "Open MemqlService streams, WebSocket ones included")
streams_closed = Counter("memql_streams_closed_total", "MemqlService streams that ended, by why", ["reason"])
_requests = Histogram(
    "memql_request_seconds",
    "Time from a request's arrival to its last answer",
    ["payload", "outcome"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)
no_auth = Gauge("memql_no_auth", "1 while every caller is taken for the local owner")


def observe(payload: str, outcome: str, seconds: float) -> None:
    """Count an answered request. ``outcome`` is ``ok``, a status name, or ``closed`` when its stream ended first."""
    _series(payload, outcome).observe(seconds)


@lru_cache(maxsize=1024)
def _series(payload: str, outcome: str) -> Histogram:
    return _requests.labels(payload=payload, outcome=outcome)
