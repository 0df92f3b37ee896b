"""What ``/metrics`` tells about the mesh."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge

__all__ = [
    "behind",
    "canary_age",
    "cursor_gaps",
    "duplicates",
    "events_dropped",
    "events_from_log",
    "events_out",
    "events_relayed",
    "forwarded",
    "forwards_running",
    "gaps",
    "links",
    "orphans",
    "outbox_waiting",
    "peers",
    "refused",
    "token_expires",
    "undeliverable",
]

events_out = Counter("memql_mesh_events_sent_total", "Events of this node sent to peers, by event and peer")
events_relayed = Counter("memql_mesh_events_relayed_total", "Events of other nodes handed on to peers")
events_from_log = Counter(
    "memql_mesh_events_from_log_total", "Events that no push had brought and the log did", ["source"]
)
events_dropped = Counter("memql_mesh_events_dropped_total", "Events that a peer took too slowly and that were not kept")
duplicates = Counter("memql_mesh_duplicates_total", "Copies of events that were here already")
outbox_waiting = Gauge("memql_mesh_outbox_waiting", "Messages and events that wait to be sent to peers")
undeliverable = Counter("memql_mesh_undeliverable_total", "Events without a JSON form, which could not leave")
gaps = Counter("memql_mesh_gaps_total", "Batches that said that events before them are missing")
cursor_gaps = Counter("memql_mesh_cursor_gaps_total", "Cursors that had fallen behind what is kept", ["source"])
behind = Gauge("memql_mesh_behind_seconds", "Since when events may wait undelivered in the log", ["source"])
canary_age = Gauge("memql_mesh_canary_age_seconds", "Since when no canary of another node has come")
links = Gauge("memql_mesh_links", "Open streams to peers", ["side", "type"])
peers = Gauge("memql_mesh_peers", "Known peers by health", ["health"])
_forwards = Counter("memql_mesh_forwards_total", "Requests forwarded to other nodes, by outcome", ["kind", "outcome"])
forwards_running = Gauge("memql_mesh_forwards_running", "Forwarded requests that run on this node")
orphans = Counter("memql_mesh_orphaned_answers_total", "Answers that nobody waits for any more")
refused = Counter("memql_mesh_refused_total", "Nodes that were not let in, or no longer, by why", ["code"])
token_expires = Gauge(
    "memql_mesh_node_token_expires_seconds", "When this node's credential expires, seconds since 1970"
)


def forwarded(kind: str, outcome: str) -> None:
    """Count a request that another node was asked for. ``outcome`` is ``answered``, ``refused``, ``lost`` or ``ended``
    for one that nobody waited for any more."""
    _forwarded(kind, outcome).inc()


@lru_cache(maxsize=256)
def _forwarded(kind: str, outcome: str) -> Counter:
    return _forwards.labels(kind, outcome)
