"""``run_automation``: accepted first, complete last, always."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from memql.automations.events import RunAccepted, RunComplete, RunEvent, RunStep
from memql.errors import Code, MemqlError, Status
from memql.server.replies import Payload
from memql.server.routing import MAX_TIMEOUT, Route
from memql.server.session import Call
from memql.wire.messages import (
    AutomationRunAccepted,
    AutomationRunComplete,
    AutomationRunEvent,
    AutomationRunStep,
)
from memql.wire.structs import from_struct, to_struct

__all__ = ["ROUTES"]

_DEFAULT_RUN_SECONDS = 60.0


async def _run(call: Call) -> Payload:
    message, services = call.message, call.services
    if not call.actor.has_role("admin"):
        raise MemqlError(Code.FORBIDDEN, "running an automation by hand needs role admin or above")
    if services.automations is None:
        raise MemqlError(Code.UNAVAILABLE, "automations do not run on this node")
    if message.target_node_type and message.target_node_type != services.identity.type:
        raise MemqlError(
            Code.UNAVAILABLE,
            f"no connected {message.target_node_type} node; this one is {services.identity.type}",
        )
    seconds = message.timeout_ms / 1000 if message.timeout_ms else call.timeout or _DEFAULT_RUN_SECONDS
    run = services.automations.run(
        message.automation,
        from_struct(message.payload),
        actor=call.actor,
        concept=message.concept,
        topic=message.topic,
        timeout=min(seconds, MAX_TIMEOUT),
    )
    relay = _Relay(call)
    async with aclosing(cast("AsyncGenerator[RunEvent, None]", run)):
        async for event in run:
            if isinstance(event, RunComplete):
                return relay.wire(event)
            await call.send(relay.wire(event))
    raise MemqlError(Code.INTERNAL, f"the run of {message.automation} ended without an outcome")


class _Relay:
    """Run events in their wire form; remembers the run id that the first one brought."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._run_id = ""

    def wire(self, event: RunEvent) -> AutomationRunEvent:
        if isinstance(event, RunAccepted):
            self._run_id = event.run_id
        out = AutomationRunEvent(request_id=self._call.request_id, run_id=self._run_id)
        if isinstance(event, RunAccepted):
            out.accepted = self._accepted(event)
        elif isinstance(event, RunStep):
            out.step = self._step(event)
        else:
            out.complete = self._complete(event)
        return out

    def _accepted(self, event: RunAccepted) -> AutomationRunAccepted:
        identity = self._call.services.identity
        return AutomationRunAccepted(
            automation=event.automation,
            ran_deployed_definition=True,
            definition_note=event.note,
            trigger_kind=event.trigger_kind,
            trigger_topic=event.trigger_topic,
            requested_on_node_id=identity.id,
            requested_on_node_type=identity.type,
            target_node_type=self._call.message.target_node_type or identity.type,
        )

    def _step(self, event: RunStep) -> AutomationRunStep:
        shown = self._call.message.include_step_output and event.output is not None
        return AutomationRunStep(
            sequence=event.sequence,
            step_id=event.step_id,
            status=event.status,
            duration_ms=int(event.duration * 1000),
            output=to_struct(_object(event.output)) if shown else None,
            error=event.error,
        )

    def _complete(self, event: RunComplete) -> AutomationRunComplete:
        identity = self._call.services.identity
        return AutomationRunComplete(
            status=event.status,
            duration_ms=int(event.duration * 1000),
            step_count=event.step_count,
            error=event.error,
            error_code=event.error_code,
            error_message=event.error_message,
            executed_on_node_id=identity.id,
            executed_on_node_type=identity.type,
        )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def _failed(call: Call, error: MemqlError) -> Payload:
    event = RunComplete(
        status="cancelled" if error.status is Status.Canceled else "failed",
        duration=0.0,
        step_count=0,
        error=error.code.value,
        error_code=int(error.status),
        error_message=error.message,
    )
    return _Relay(call).wire(event)


ROUTES = (Route(name="run_automation", handler=_run, failure=_failed, timeout=MAX_TIMEOUT),)
