"""``publishEvent``: events of products, kept in the outbox and published after commit (spec "Functions")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memql.engine.context import RequestContext, format_instant
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.events.kinds import kind_for_topic
from memql.events.outbox import Outbox
from memql.events.topics import RESERVED_ROOTS, check_topic, root_of
from memql.ids import derived_id, new_id

__all__ = ["Publisher", "event_object"]


def event_object(event: Event) -> dict[str, Any]:
    """An event as the language sees it: ``{topic, kind, timestamp, actor, payload}``, kind in lower case."""
    return {
        "topic": event.topic,
        "kind": event.kind.lower(),
        "timestamp": format_instant(event.timestamp),
        "actor": event.actor,
        "payload": dict(event.payload),
    }


class Publisher:
    """Publishes the events of bodies and steps.

    :param publish: hands an event to the bus.
    """

    def __init__(self, outbox: Outbox, publish: Callable[[Event], None]) -> None:
        self._outbox = outbox
        self.publish = publish

    async def publish_event(self, argument: Any, ctx: RequestContext) -> dict[str, Any]:
        """Publish ``{topic, payload}`` and give the event; inside a transaction, once that has committed.

        :raises MemqlError: ``INVALID_ARGUMENT`` for a topic that is none or stands under a root of the
            engine's own, or a payload that is no object.
        """
        event = _event(argument, ctx)
        await self._outbox.append(event, ctx.connection)
        if ctx.deferred is None:
            self.publish(event)
        else:
            ctx.deferred.append(event)
        return event_object(event)


def _event(argument: Any, ctx: RequestContext) -> Event:
    topic, payload = _checked(argument)
    return Event(
        id=new_id() if ctx.ids is None else derived_id("event", *ctx.ids.path),
        topic=topic,
        body=payload,
        kind=kind_for_topic(topic).name,
        actor=ctx.actor.created_by,
        cause=ctx.cause,
    )


def _checked(argument: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(argument, Mapping) or not isinstance(argument.get("topic"), str):
        raise MemqlError(Code.INVALID_ARGUMENT, 'publishEvent takes {topic: "..", payload: {..}}')
    if unknown := sorted(set(argument) - {"topic", "payload"}):
        raise MemqlError(Code.INVALID_ARGUMENT, f"publishEvent takes topic and payload, not {', '.join(unknown)}")
    topic = check_topic(argument["topic"])
    if root_of(topic) in RESERVED_ROOTS:
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"publishEvent: {topic!r} stands under {root_of(topic)!r}, where only the engine publishes; choose a root "
            "of your own, such as the namespace",
        )
    payload = argument.get("payload")
    if payload is None:
        payload = {}
    if not isinstance(payload, Mapping):
        raise MemqlError(Code.INVALID_ARGUMENT, f"publishEvent: the payload is an object, not {type(payload).__name__}")
    return topic, payload
