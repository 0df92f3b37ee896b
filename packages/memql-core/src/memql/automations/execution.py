"""Carries out one run: its steps in order, its attempts, its time limit, and what it tells the outside."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

import anyio
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from memql.automations.claims import ClaimLostError
from memql.automations.compiled import CompiledAutomation, CompiledStep
from memql.automations.events import Lifecycle, RunComplete, RunStep
from memql.automations.journal import RunJournal
from memql.automations.metrics import Counts, observe_run
from memql.automations.options import Options
from memql.automations.unclaimed import ClaimNeededError, UnclaimedJournal
from memql.engine.context import IdSequence, RequestContext
from memql.engine.journal import Journal, Nature
from memql.engine.logic import Runner, event_object
from memql.engine.logic.bodies import Frame
from memql.engine.logic.runner import ATOMIC_TIMEOUT
from memql.engine.ports import Writer
from memql.engine.values import Env, Invocation, truth
from memql.engine.write.audit import AUDIT_CONCEPT, audit_row
from memql.errors import Code, MemqlError, internal_error
from memql.events.event import Event, to_micros
from memql.graph.database import Database
from memql.ids import derived_id, new_id

__all__ = ["Execution", "Executor", "cause_of", "context_for"]

_log = structlog.get_logger("memql.automations")

_INFRASTRUCTURE_ATTEMPTS: Final = 5
"""Further attempts when the database went away under a run, whatever ``@retry`` says."""

Spawn: TypeAlias = Callable[[str, Event], Awaitable[None]]
"""Starts an ``@async`` automation; returns when the run is claimed and cannot be lost any more."""
Observe: TypeAlias = Callable[[RunStep], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What to run. Without a ``journal`` the run is not durable: it is by hand.

    ``run_id`` is the same for every repetition; every id the run makes is derived from it.
    """

    compiled: CompiledAutomation
    event: Event
    run_id: str
    now: datetime
    journal: RunJournal | UnclaimedJournal | None = None
    resume: bool = False
    timeout: float | None = None
    observe: Observe | None = None


def cause_of(event: Event, name: str) -> str:
    """The chain of automations up to and including ``name`` when ``event`` triggers it."""
    return f"{event.cause}>{name}" if event.cause else name


def context_for(
    compiled: CompiledAutomation, event: Event, ids: IdSequence, now: datetime, journal: Journal | None = None
) -> RequestContext:
    """The context of a run: the automation acts as itself, and its writes say what triggered it.

    ``provenance.via`` keeps the automations that led to the trigger, so that a reader of the log knows the
    chain too.
    """
    provenance: dict[str, Any] = {"kind": "automation", "name": compiled.name, "trigger": event.topic}
    if event.cause:
        provenance["via"] = event.cause
    return RequestContext(
        actor=compiled.actor,
        now=now,
        provenance=provenance,
        ids=ids,
        journal=journal,
        cause=cause_of(event, compiled.name),
        inner=True,
    )


class Executor:
    """Runs automations of the tree in force.

    :param lookup: an automation by key, or None.
    """

    def __init__(
        self,
        runner: Runner,
        writer: Writer,
        database: Database,
        publish: Callable[[Event], None],
        options: Options,
        counts: Counts,
        lookup: Callable[[str], CompiledAutomation | None],
        spawn: Spawn,
    ) -> None:
        self._runner = runner
        self._writer = writer
        self._database = database
        self._publish = publish
        self._options = options
        self._counts = counts
        self._lookup = lookup
        self._spawn = spawn

    async def execute(self, execution: Execution) -> tuple[RunComplete, MemqlError | None]:
        """Run to the end, with further attempts where they are allowed.

        :raises ClaimLostError: when another process has the run; nothing is told to the outside then.
        :raises ClaimNeededError: when a run without a claim has come to where it needs the database.
        """
        compiled, event, journal = execution.compiled, execution.event, execution.journal
        lifecycle = Lifecycle(
            self._publish,
            compiled.name,
            execution.run_id,
            event.topic,
            cause_of(event, compiled.name),
            execution.observe,
        )
        began = time.perf_counter()
        attempt = 0
        while True:
            attempt += 1
            lifecycle.started(attempt)
            if journal is not None and (execution.resume or attempt > 1):
                await journal.load()
            error = await self._attempt(execution, lifecycle)
            if isinstance(journal, UnclaimedJournal) and error is not None and _is_infrastructure(error):
                raise ClaimNeededError from error
            if error is None or not self._may_repeat(compiled, error, attempt):
                break
            self._counts.add("attempts_repeated")
            _log.info("automation_attempt_failed", automation=compiled.name, attempt=attempt, error=str(error))
            await anyio.sleep(self._delay(attempt))
        if compiled.automation.audit:
            await self._audit(execution, error)
        complete = _complete(lifecycle.steps, error, time.perf_counter() - began)
        observe_run(compiled.name, complete.status, complete.duration)
        lifecycle.ended(complete, error)
        if error is not None:
            _log.warning("automation_failed", automation=compiled.name, run_id=execution.run_id, error=str(error))
        return complete, error

    async def _attempt(self, execution: Execution, lifecycle: Lifecycle) -> MemqlError | None:
        compiled = execution.compiled
        limit = execution.timeout or compiled.timeout or self._options.run_timeout
        ids = IdSequence((execution.run_id,))
        ctx = context_for(compiled, execution.event, ids, execution.now, execution.journal)
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + limit) as scope:
                await self._run(compiled, execution.event, ctx, lifecycle)
            if scope.cancelled_caught:
                message = f"automation {compiled.name} did not finish within {limit:g} s"
                return MemqlError(Code.TIMEOUT, message, retryable=True)
        except ClaimLostError:
            raise
        except MemqlError as error:
            return error
        except Exception as error:
            unexpected = internal_error(error, new_id())
            _log.exception("automation_crashed", automation=compiled.name, error_id=unexpected.error_id)
            return unexpected
        return None

    async def _run(self, compiled: CompiledAutomation, event: Event, ctx: RequestContext, lifecycle: Lifecycle) -> Any:
        """All steps; in one transaction when the automation is ``@atomic``. Gives the last step's result."""

        async def body(inner: RequestContext) -> Any:
            return await self._steps(compiled, event, inner, lifecycle)

        if not compiled.automation.atomic or ctx.connection is not None:
            return await body(ctx)
        if ctx.journal is not None:
            assert ctx.ids is not None
            place = "/".join((*ctx.ids.path[1:], "atomic"))
            return await ctx.journal.call(place, compiled.name, Nature.WRITE, body, ctx)
        return await self._transaction(body, ctx)

    async def _transaction(self, body: Callable[[RequestContext], Awaitable[Any]], ctx: RequestContext) -> Any:
        deferred: list[Event] = []

        async def work(connection: AsyncConnection[Any]) -> Any:
            return await body(replace(ctx, connection=connection, deferred=deferred))

        value = await self._database.transaction(work, timeout=ATOMIC_TIMEOUT)
        for event in deferred:
            self._publish(event)
        return value

    async def _steps(
        self, compiled: CompiledAutomation, event: Event, ctx: RequestContext, lifecycle: Lifecycle
    ) -> Any:
        done: dict[str, Any] = {}
        tables = await self._runner.tables(ctx) if compiled.needs_tables else None
        bindings = {"event": event_object(event), "steps": done}
        env = Env.of(ctx, compiled.arguments(event), bindings=bindings, tables=tables)
        frame = Frame(env, ctx, self._runner.calls.perform)
        last: Any = None
        for step in compiled.steps:
            ended = await self._step(step, event, frame, lifecycle)
            done[step.name] = {"result": ended.output, "status": ended.status}
            last = ended.output
        return last

    async def _step(self, step: CompiledStep, event: Event, frame: Frame, lifecycle: Lifecycle) -> RunStep:
        began = time.perf_counter()
        sequence = lifecycle.step_started(step.name)

        def ended(status: str, output: Any = None, error: str = "") -> RunStep:
            told = RunStep(
                sequence=sequence,
                step_id=step.name,
                status=status,
                duration=time.perf_counter() - began,
                output=output,
                error=error,
            )
            lifecycle.step_ended(told)
            return told

        frame.stand_at(step.name)
        try:
            if step.test is not None and not truth(await step.test.value(frame)):
                return ended("skipped")
            argument = await step.argument.value(frame)
            return ended("completed", await self._act(step, argument, event, frame, lifecycle))
        except ClaimLostError:
            raise
        except MemqlError as error:
            ended("failed", error=str(error))
            raise

    async def _act(self, step: CompiledStep, argument: Any, event: Event, frame: Frame, lifecycle: Lifecycle) -> Any:
        if step.kind == "publishEvent":
            return await frame.invoke(Invocation("publishEvent", "", argument))
        if step.kind != "automation":
            return await frame.invoke(Invocation("call", step.target, argument))
        return await self._nested(step, argument, event, frame.ctx, lifecycle.attempt)

    async def _nested(self, step: CompiledStep, payload: Any, event: Event, ctx: RequestContext, attempt: int) -> Any:
        """A step that runs another automation: inside this run, or as a run of its own when that one is ``@async``."""
        target = self._lookup(step.target)
        if target is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"there is no automation {step.target}", context=step.target)
        assert ctx.ids is not None
        ids = ctx.ids.child(step.name)
        triggered = Event(
            id=derived_id("nested", *ids.path),
            topic=event.topic,
            kind=event.kind,
            body=dict(payload) if isinstance(payload, Mapping) else {},
            micros=to_micros(ctx.now),
            actor=ctx.actor.created_by,
            cause=ctx.cause,
        )
        if triggered.cause.count(">") + 1 >= self._options.chain:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"automations call one another more than {self._options.chain} deep: {triggered.cause}",
            )
        if target.automation.run_async:
            await self._spawn(target.name, triggered)
            return None
        own = context_for(target, triggered, ids, ctx.now, ctx.journal)
        inner = replace(own, connection=ctx.connection, deferred=ctx.deferred)
        run_id = derived_id("run", *ids.path)
        nested = Lifecycle(
            self._publish, target.name, run_id, event.topic, cause_of(triggered, target.name), attempt=attempt
        )
        return await self._run(target, triggered, inner, nested)

    async def _audit(self, execution: Execution, error: MemqlError | None) -> None:
        """One row per run, however often it is repeated. A row that cannot be written is told, and fails no run."""
        compiled, journal = execution.compiled, execution.journal
        ctx = context_for(compiled, execution.event, IdSequence((execution.run_id,)), execution.now)

        async def perform(inner: RequestContext) -> None:
            concept, payload, system_ctx = audit_row("automation", compiled.name, None, error, inner)
            await self._writer.insert(concept, payload, system_ctx, id=derived_id("audit", execution.run_id))

        try:
            if journal is None:
                await perform(ctx)
            else:
                await journal.call("audit", AUDIT_CONCEPT, Nature.WRITE, perform, ctx)
        except ClaimLostError:
            raise
        except MemqlError as failure:
            _log.error("automation_audit_failed", automation=compiled.name, error=failure.message)

    def _may_repeat(self, compiled: CompiledAutomation, error: MemqlError, attempt: int) -> bool:
        allowed = compiled.automation.retry.count if compiled.automation.retry else 0
        if _is_infrastructure(error):
            allowed += _INFRASTRUCTURE_ATTEMPTS
        return attempt <= allowed

    def _delay(self, attempt: int) -> float:
        """Exponential, with jitter so that runs that failed together do not come back together."""
        whole = min(self._options.retry_delay * 2.0 ** (attempt - 1), self._options.retry_delay_most)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _is_infrastructure(error: MemqlError) -> bool:
    """Whether the database itself went away, rather than something the run asked for."""
    return error.retryable and isinstance(error.__cause__, psycopg.OperationalError | PoolTimeout)


def _complete(steps: int, error: MemqlError | None, duration: float) -> RunComplete:
    if error is None:
        return RunComplete(status="completed", duration=duration, step_count=steps)
    return RunComplete(
        status="failed",
        duration=duration,
        step_count=steps,
        error=error.code.value,
        error_code=int(error.status),
        error_message=error.message,
    )
