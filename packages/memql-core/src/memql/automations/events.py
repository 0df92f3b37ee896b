"""What a run tells the outside: events on the bus, and the replies of a run by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from memql.errors import MemqlError
from memql.events.event import Event
from memql.events.kinds import kind_for_topic

__all__ = ["Lifecycle", "RunAccepted", "RunComplete", "RunEvent", "RunStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccepted:
    """A run by hand was taken on. ``trigger_kind`` is event or schedule."""

    run_id: str
    automation: str
    trigger_kind: str = ""
    trigger_topic: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """A step ended. ``sequence`` counts from 1; ``status`` is completed, skipped or failed; ``duration`` is
    seconds."""

    sequence: int
    step_id: str
    status: str
    duration: float
    output: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComplete:
    """A run ended. ``status`` is completed or failed; ``duration`` is seconds; ``error_code`` a gRPC status
    number, 0 when it went well."""

    status: str
    duration: float
    step_count: int
    error: str = ""
    error_code: int = 0
    error_message: str = ""


RunEvent: TypeAlias = RunAccepted | RunStep | RunComplete


_KINDS: Final = {
    topic: kind_for_topic(topic).name
    for topic in (
        "automation.started",
        "automation.completed",
        "automation.failed",
        "automation.step.started",
        "automation.step.completed",
        "automation.step.failed",
    )
}


class Lifecycle:
    """Publishes ``automation.*`` for one run, and counts the steps of its attempt.

    The events of an attempt have the same ids whenever the run is repeated.

    :param observe: is told of every step that ended.
    :param cause: the automations that led here, this one included; an automation that listens to these events
        is part of the same chain.
    """

    def __init__(
        self,
        publish: Callable[[Event], None],
        automation: str,
        run_id: str,
        trigger: str,
        cause: str,
        observe: Callable[[RunStep], None] | None = None,
        *,
        attempt: int = 0,
    ) -> None:
        self.steps = 0
        self.attempt = attempt
        self._publish = publish
        self._common = {"automation": automation, "runId": run_id, "trigger": trigger}
        self._actor = f"system:automation:{automation}"
        self._cause = cause
        self._observe = observe
        self._run_id = run_id
        self._sent = 0

    def started(self, attempt: int) -> None:
        """The run began, or began again."""
        self.steps = 0
        self.attempt = attempt
        self._sent = 0
        self._send("automation.started", {"attempt": attempt})

    def step_started(self, name: str) -> int:
        """A step began; gives its number, from 1."""
        self.steps += 1
        self._send("automation.step.started", {"step": name, "sequence": self.steps})
        return self.steps

    def step_ended(self, step: RunStep) -> None:
        """A step ended, well or badly."""
        topic = "automation.step.failed" if step.status == "failed" else "automation.step.completed"
        body = {
            "step": step.step_id,
            "sequence": step.sequence,
            "status": step.status,
            "durationMs": round(step.duration * 1000),
        }
        self._send(topic, {**body, "error": step.error} if step.error else body)
        if self._observe is not None:
            self._observe(step)

    def ended(self, complete: RunComplete, error: MemqlError | None) -> None:
        """The run ended, well or badly."""
        body: dict[str, Any] = {
            "status": complete.status,
            "durationMs": round(complete.duration * 1000),
            "stepCount": complete.step_count,
        }
        if error is not None:
            body["error"] = {"code": error.code.value, "message": error.message}
        self._send("automation.completed" if error is None else "automation.failed", body)

    def _send(self, topic: str, body: dict[str, Any]) -> None:
        self._sent += 1
        self._publish(
            Event(
                id=f"{self._run_id}.{self.attempt}.{self._sent}",
                topic=topic,
                body={**self._common, **body},
                kind=_KINDS[topic],
                actor=self._actor,
                cause=self._cause,
            )
        )
