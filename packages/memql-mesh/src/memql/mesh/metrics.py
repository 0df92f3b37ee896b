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
events_relayed = Counter(
    "memql_mesh_events_relayed_total", "Events of other nodes handed on to peers, by event and peer"
)
events_from_log = Counter(
    "memql_mesh_events_from_log_total", "Events that no push had brought in time and the database did", ["source"]
)
events_dropped = Counter(
    "memql_mesh_events_dropped_total", "Events not pushed to a peer because it took them too slowly"
)
duplicates = Counter("memql_mesh_duplicates_total", "Copies of events that were here already")
outbox_waiting = Gauge("memql_mesh_outbox_waiting", "Messages and events that wait to be sent to peers")
undeliverable = Counter("memql_mesh_undeliverable_total", "Events without a JSON form, which could not leave this node")
gaps = Counter("memql_mesh_gaps_total", "Batches of peers that said that events before them are missing")
cursor_gaps = Counter(
    "memql_mesh_cursor_gaps_total", "Starts of this node after it was away for longer than events are kept", ["source"]
)
behind = Gauge("memql_mesh_behind_seconds", "For how long events may have waited in the database", ["source"])
canary_age = Gauge("memql_mesh_canary_age_seconds", "Since when no canary of another node has come by push")
links = Gauge("memql_mesh_links", "Open streams to peers, by who dialed and the type of the peer", ["side", "type"])
peers = Gauge("memql_mesh_peers", "Known peers, those that others only named included", ["health"])
_forwards = Counter("memql_mesh_forwards_total", "Requests that other nodes were asked to answer", ["kind", "outcome"])
forwards_running = Gauge("memql_mesh_forwards_running", "Payloads that are being answered here for other nodes")
orphans = Counter("memql_mesh_orphaned_answers_total", "Answers of other nodes that nobody waited for any more")
refused = Counter("memql_mesh_refused_total", "Nodes that were not let in, or no longer, by code", ["code"])
token_expires = Gauge(
    "memql_mesh_node_token_expires_seconds", "When this node's minted credential expires, seconds since 1970"
)


def forwarded(kind: str, outcome: str) -> None:
    """Count a request that another node was asked for. ``outcome`` is ``answered``, ``refused``, ``lost`` or ``ended``
    for one that nobody waited for any more."""
    _forwarded(kind, outcome).inc()


@lru_cache(maxsize=256)
def _forwarded(kind: str, outcome: str) -> Counter:
    return _forwards.labels(kind, outcome)
