"""The kinds of events: names, wire numbers, and the kind that a topic implies (spec "Subscriptions and
events")."""

from __future__ import annotations

from enum import IntEnum

from memql.events.topics import root_of

__all__ = ["EventKind", "kind_for_topic", "kind_number"]


class EventKind(IntEnum):
    """Wire numbers. An :class:`~memql.events.event.Event` carries the name; ``eventKind`` is it in lower
    case."""

    TELEMETRY = 100
    MESSAGE = 200
    GRAPH_UPDATE = 300
    NODE_CREATED = 301
    NODE_DELETED = 302
    NODE_UPDATED = 303
    QUERY_EXECUTED = 400
    AI_EVENT = 500
    AI_COMPLETION_STARTED = 501
    AI_COMPLETION_FINISHED = 502
    AI_COMPLETION_ERROR = 503
    SESSION_OPENED = 600
    SESSION_CLOSED = 601
    AUTOMATION_STARTED = 700
    AUTOMATION_COMPLETED = 701
    AUTOMATION_FAILED = 702
    AUTOMATION_STEP_STARTED = 703
    AUTOMATION_STEP_COMPLETED = 704
    AUTOMATION_STEP_FAILED = 705
    TOOL_CALLED = 800
    TOOL_COMPLETED = 801
    TOOL_FAILED = 802
    CLUSTER_NODE_REGISTERED = 900
    CLUSTER_NODE_DEREGISTERED = 901
    CLUSTER_NODE_HEALTH_CHANGED = 902
    SYSTEM_STARTUP = 910
    SYSTEM_SHUTDOWN = 911
    CACHE_INVALIDATE = 920
    PRECONDITION_MISSED = 930


_BY_TOPIC = {
    "query.executed": EventKind.QUERY_EXECUTED,
    "si.completion.started": EventKind.AI_COMPLETION_STARTED,
    "si.completion.finished": EventKind.AI_COMPLETION_FINISHED,
    "si.completion.error": EventKind.AI_COMPLETION_ERROR,
    "session.opened": EventKind.SESSION_OPENED,
    "session.closed": EventKind.SESSION_CLOSED,
    "automation.started": EventKind.AUTOMATION_STARTED,
    "automation.completed": EventKind.AUTOMATION_COMPLETED,
    "automation.failed": EventKind.AUTOMATION_FAILED,
    "automation.step.started": EventKind.AUTOMATION_STEP_STARTED,
    "automation.step.completed": EventKind.AUTOMATION_STEP_COMPLETED,
    "automation.step.failed": EventKind.AUTOMATION_STEP_FAILED,
    "tool.called": EventKind.TOOL_CALLED,
    "tool.completed": EventKind.TOOL_COMPLETED,
    "tool.failed": EventKind.TOOL_FAILED,
    "cluster.node.registered": EventKind.CLUSTER_NODE_REGISTERED,
    "cluster.node.deregistered": EventKind.CLUSTER_NODE_DEREGISTERED,
    "cluster.node.health_changed": EventKind.CLUSTER_NODE_HEALTH_CHANGED,
    "system.startup": EventKind.SYSTEM_STARTUP,
    "system.shutdown": EventKind.SYSTEM_SHUTDOWN,
    "healing.precondition.missed": EventKind.PRECONDITION_MISSED,
}

_BY_PREFIX = {
    "graph.node.created.": EventKind.NODE_CREATED,
    "graph.node.updated.": EventKind.NODE_UPDATED,
    "graph.node.deleted.": EventKind.NODE_DELETED,
    "cache.invalidate.": EventKind.CACHE_INVALIDATE,
}

_BY_ROOT = {
    "graph": EventKind.GRAPH_UPDATE,
    "telemetry": EventKind.TELEMETRY,
    "si": EventKind.AI_EVENT,
    "ai": EventKind.AI_EVENT,
}


def kind_for_topic(topic: str) -> EventKind:
    """The kind of events published under a topic; ``MESSAGE`` for the topics of products."""
    if kind := _BY_TOPIC.get(topic):
        return kind
    for prefix, kind in _BY_PREFIX.items():
        if topic.startswith(prefix):
            return kind
    return _BY_ROOT.get(root_of(topic), EventKind.MESSAGE)


class _Numbers(dict[str, int]):
    """Wire numbers by name."""

    def __missing__(self, name: str) -> int:
        return EventKind.MESSAGE.value


_NUMBERS = _Numbers(
    (spelled, kind.value) for name, kind in EventKind.__members__.items() for spelled in (name, name.lower())
)

kind_number = _NUMBERS.__getitem__
"""The wire number of a kind's name in upper or lower case; an unknown one is ``MESSAGE``."""
