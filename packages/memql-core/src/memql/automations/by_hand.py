"""Runs by hand: an administrator starts an automation and follows its steps."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from memql.auth import Actor
from memql.automations.batches import Start
from memql.automations.compiled import CompiledAutomation
from memql.automations.events import RunAccepted, RunComplete, RunEvent
from memql.automations.execution import Execution, Executor
from memql.engine.access import RateLimiter, role_refusal
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.events.kinds import kind_for_topic
from memql.events.topics import check_topic, node_topic
from memql.ids import new_id

__all__ = ["MAX_TIMEOUT", "ByHand"]

MAX_TIMEOUT: Final = 300.0
"""Seconds a run by hand may take at most."""


class ByHand:
    """Starts runs that a caller waits for. They are not claimed: the caller sees what becomes of them.

    :param require: refuses an automation that cannot run on this node.
    """

    def __init__(self, start: Start, executor: Executor, require: Callable[[str], None]) -> None:
        self._start = start
        self._executor = executor
        self._require = require
        self._limiter = RateLimiter()

    async def run(
        self,
        compiled: CompiledAutomation,
        payload: Mapping[str, Any],
        *,
        actor: Actor,
        concept: str,
        topic: str,
        timeout: float,
    ) -> AsyncGenerator[RunEvent, None]:
        """Run once: accepted first, complete last. Leaving the iteration stops the run.

        :raises MemqlError: before the first element, ``FORBIDDEN``, ``RESOURCE_EXHAUSTED``, ``UNAVAILABLE`` or
            ``INVALID_ARGUMENT`` when it cannot begin; how it ends is told by the last element.
        """
        self._authorize(compiled, actor)
        self._require(compiled.name)
        event = _event(compiled, payload, actor, concept, topic)
        compiled.arguments(event)
        send, receive = anyio.create_memory_object_stream[RunEvent](math.inf)
        scope = anyio.CancelScope()
        execution = Execution(
            compiled=compiled,
            event=event,
            run_id=event.id,
            now=datetime.now(UTC),
            timeout=min(timeout, MAX_TIMEOUT),
            observe=send.send_nowait,
        )

        async def work() -> None:
            with send, scope:
                complete, _ = await self._executor.execute(execution)
                send.send_nowait(complete)

        send.send_nowait(_accepted(compiled, event))
        self._start(work)
        ended = False
        try:
            with receive:
                async for told in receive:
                    ended = isinstance(told, RunComplete)
                    yield told
        finally:
            scope.cancel()
        if not ended:
            yield _stopped()

    def _authorize(self, compiled: CompiledAutomation, actor: Actor) -> None:
        marks = compiled.automation.annotations
        name = compiled.automation.name
        if marks.internal:
            raise MemqlError(Code.FORBIDDEN, f"automation {name} is internal: only its trigger runs it", context=name)
        if reason := role_refusal(marks, actor):
            raise MemqlError(Code.FORBIDDEN, f"automation {name} {reason}", context=name)
        if marks.rate_limit:
            self._limiter.check(name, marks.rate_limit, actor)


def _event(compiled: CompiledAutomation, payload: Mapping[str, Any], actor: Actor, concept: str, topic: str) -> Event:
    if topic:
        named = check_topic(topic)
    elif concept:
        named = node_topic("created", concept)
    else:
        named = _trigger_topic(compiled)
    event = Event(id=new_id(), topic=named, body=dict(payload), kind=kind_for_topic(named).name, actor=actor.created_by)
    return event.replace(id=f"manual:{event.id}")


def _trigger_topic(compiled: CompiledAutomation) -> str:
    """The topic the automation waits for, if it is one topic; ``manual.<name>`` otherwise."""
    pattern = compiled.automation.trigger.pattern
    return pattern if pattern and not any(mark in pattern for mark in "*?#") else f"manual.{compiled.name}"


def _accepted(compiled: CompiledAutomation, event: Event) -> RunAccepted:
    trigger = compiled.automation.trigger
    return RunAccepted(
        run_id=event.id,
        automation=compiled.name,
        trigger_kind="schedule" if trigger.schedule else "event",
        trigger_topic=event.topic,
    )


def _stopped() -> RunComplete:
    error = MemqlError(Code.UNAVAILABLE, "the node stopped before the run ended; start it again")
    return RunComplete(
        status="failed",
        duration=0.0,
        step_count=0,
        error=error.code.value,
        error_code=int(error.status),
        error_message=error.message,
    )
