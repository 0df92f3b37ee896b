"""Events: topics and patterns, kinds, and the bus of one process."""

from __future__ import annotations

from memql.events.bus import Bus, BusStatistics, Delivery, Subscription
from memql.events.event import Event
from memql.events.graph_events import graph_events
from memql.events.kinds import EventKind, kind_for_topic
from memql.events.topics import Pattern, check_topic, compile_pattern, node_topic, normalize_pattern

__all__ = [
    "Bus",
    "BusStatistics",
    "Delivery",
    "Event",
    "EventKind",
    "Pattern",
    "Subscription",
    "check_topic",
    "compile_pattern",
    "graph_events",
    "kind_for_topic",
    "node_topic",
    "normalize_pattern",
]
