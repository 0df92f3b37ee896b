"""What a subscription asks for, as topic patterns (spec "Subscriptions and events")."""

from __future__ import annotations

import re
from collections.abc import Mapping

from memql.auth import Actor
from memql.errors import Code, MemqlError
from memql.events import normalize_pattern
from memql.events.topics import root_of
from memql.wire.messages import GraphNodeAction, SubscribeMsg, SubscriptionKind

__all__ = ["HIDDEN_FROM_DOMAIN", "patterns_of"]

HIDDEN_FROM_DOMAIN = frozenset({"graph", "telemetry", "session", "query", "automation", "cluster", "mesh", "cache"})
"""First segments that a subscription to domain events never sees."""

_CONCEPT = re.compile(r"v\d+:[a-z0-9]+:[A-Za-z0-9_:]+")
_PREFIXES: Mapping[SubscriptionKind, tuple[str, ...]] = {
    SubscriptionKind.TELEMETRY: ("telemetry",),
    SubscriptionKind.MESSAGE: ("message",),
    SubscriptionKind.QUERY_SPEC: ("query",),
    SubscriptionKind.AUTOMATION_EVENTS: ("automation",),
    SubscriptionKind.AI_STREAM: ("si", "ai"),
    SubscriptionKind.GRAPH_EVENTS: ("graph",),
}
_ACTIONS = {
    GraphNodeAction.CREATED: "created",
    GraphNodeAction.UPDATED: "updated",
    GraphNodeAction.DELETED: "deleted",
}


def patterns_of(message: SubscribeMsg, actor: Actor) -> tuple[str, ...]:
    """The patterns of a subscription.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a kind, filter, concept or action that is none; ``FORBIDDEN`` when
        the actor may not subscribe so widely.
    """
    kind = message.kind
    if actor.role == "guest" and kind is not SubscriptionKind.GRAPH_EVENTS:
        raise MemqlError(Code.FORBIDDEN, "guests subscribe to graph events only")
    if message.concept or message.actions:
        return _structured(message)
    if kind is SubscriptionKind.ALL:
        if not actor.has_role("admin"):
            raise MemqlError(Code.FORBIDDEN, "subscribing to everything needs role admin or above")
        return ("#",)
    if kind is SubscriptionKind.DOMAIN_EVENTS:
        return (_domain(message.filter),)
    prefixes = _PREFIXES.get(kind)
    if prefixes is None:
        raise MemqlError(Code.INVALID_ARGUMENT, f"there is no subscription kind {int(kind)}")
    return tuple(_under(prefix, message.filter) for prefix in prefixes)


def _under(prefix: str, text: str) -> str:
    pattern = normalize_pattern(text)
    if pattern == prefix or pattern.startswith(prefix + "."):
        return pattern
    return normalize_pattern(f"{prefix}.{pattern}")


def _domain(text: str) -> str:
    pattern = normalize_pattern(text)
    root = root_of(pattern)
    if root in HIDDEN_FROM_DOMAIN:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"{root!r} events are not domain events; subscribe with the kind that is theirs"
        )
    return pattern


def _structured(message: SubscribeMsg) -> tuple[str, ...]:
    if message.kind is not SubscriptionKind.GRAPH_EVENTS:
        raise MemqlError(Code.INVALID_ARGUMENT, "concept and actions go with graph events only")
    if message.filter:
        raise MemqlError(Code.INVALID_ARGUMENT, "give either a filter, or a concept and actions; not both")
    if message.concept and not _CONCEPT.fullmatch(message.concept):
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"{message.concept!r} is no concept id; expected v<n>:<namespace>:<name>"
        )
    actions = [_ACTIONS.get(action) for action in message.actions] or ["*"]
    if None in actions:
        raise MemqlError(Code.INVALID_ARGUMENT, "actions are CREATED, UPDATED and DELETED")
    return tuple(f"graph.node.{action}.{message.concept or '*'}" for action in dict.fromkeys(actions))
