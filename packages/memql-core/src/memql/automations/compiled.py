"""Automations compiled once per tree: trigger, filter, arguments and steps (spec "Construct rules",
Automation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memql.auth.actor import Actor, system
from memql.engine.context import RequestContext
from memql.engine.logic import event_object
from memql.engine.logic.bodies import Expression
from memql.engine.values import Compiled, Env, TypeScope, ValueTables, bind_args, compile_expr, compile_filter
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.events.topics import Pattern, compile_pattern
from memql.lang import ast
from memql.lang.catalog import Automation, Catalog

__all__ = ["CompiledAutomation", "CompiledStep", "compile_automation", "compile_tree"]

_TABLES = {"logic": "logics", "query": "queries", "mutation": "mutations", "builtin": "builtins"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """One step. ``kind`` is logic, query, mutation, builtin, automation or publishEvent; ``target`` is the
    catalog key of what it calls."""

    name: str
    kind: str
    target: str
    test: Expression | None
    argument: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledAutomation:
    """One automation, ready to be triggered. ``pattern`` is None for a scheduled one; it acts as ``actor``."""

    automation: Automation
    pattern: Pattern | None
    filter: Compiled | None
    steps: tuple[CompiledStep, ...]
    needs_tables: bool
    actor: Actor

    @property
    def name(self) -> str:
        """The automation's tree-wide name: the first half of a claim's key."""
        return self.automation.key

    @property
    def timeout(self) -> float | None:
        """``@timeout`` in seconds."""
        return self.automation.annotations.timeout

    @property
    def takes_all(self) -> bool:
        """Whether every event of its trigger is for it: nothing about the event is asked."""
        return self.filter is None and self.automation.args is None

    @property
    def log_concepts(self) -> frozenset[str] | None:
        """The concepts whose log rows may trigger it: none for other topics, None when the pattern leaves them open."""
        if self.pattern is None:
            return frozenset()
        segments = self.pattern.text.split(".")
        if not compile_pattern(segments[0]).matches("graph"):
            return frozenset()
        exact = len(segments) == 4 and segments[:2] == ["graph", "node"] and not set("*?#") & set(segments[3])
        return frozenset((segments[3],)) if exact else None

    def arguments(self, event: Event) -> Mapping[str, Any]:
        """What ``args`` is: the declared arguments from the event's payload, or ``topic``, ``kind`` and
        ``payload``.

        :raises MemqlError: ``INVALID_ARGUMENT`` when the payload does not fit the declared arguments.
        """
        specs = self.automation.args
        if specs is None:
            return {"topic": event.topic, "kind": event.kind.lower(), "payload": event.payload}
        given = {spec.name: event.payload[spec.name] for spec in specs if spec.name in event.payload}
        return bind_args(specs, given, self.automation.name)

    def admits(self, event: Event, ctx: RequestContext, tables: ValueTables | None) -> bool:
        """Whether ``@filter`` lets the event through and its payload fits the arguments.

        :raises MemqlError: what the filter or the arguments raise; the event is then not for this automation.
        """
        arguments = self.arguments(event)
        if self.filter is None:
            return True
        row = {"payload": event.payload, "topic": event.topic, "kind": event.kind.lower()}
        env = Env.of(ctx, arguments, bindings={"event": event_object(event)}, row=row, tables=tables)
        return bool(self.filter.evaluate(env))


def compile_tree(catalog: Catalog) -> dict[str, CompiledAutomation]:
    """All automations of a tree, by key."""
    return {key: compile_automation(automation, catalog) for key, automation in catalog.automations.items()}


def compile_automation(automation: Automation, catalog: Catalog) -> CompiledAutomation:
    """Compile one.

    :raises MemqlError: ``UNKNOWN_FUNCTION`` when a step's target is not there.
    """
    types = TypeScope.of(None, automation.args or ())
    compiled_filter = None
    if automation.filter is not None:
        compiled_filter = compile_filter(automation.filter, automation.scope, catalog, types=types)
    needs = compiled_filter is not None and compiled_filter.needs_tables
    steps = []
    for step in automation.steps:
        made, step_needs = _step(step, automation, catalog, types)
        steps.append(made)
        needs = needs or step_needs
    return CompiledAutomation(
        automation=automation,
        pattern=compile_pattern(automation.trigger.pattern) if automation.trigger.pattern else None,
        filter=compiled_filter,
        steps=tuple(steps),
        needs_tables=needs,
        actor=system(f"system:automation:{automation.key}"),
    )


def _step(step: ast.Step, automation: Automation, catalog: Catalog, types: TypeScope) -> tuple[CompiledStep, bool]:
    action = step.action
    scope = automation.scope
    secrets = action.kind == "builtin"
    argument = compile_expr(action.argument, scope, catalog, mode="logic", types=types, allow_secrets=secrets)
    test = None if step.test is None else compile_expr(step.test, scope, catalog, mode="logic", types=types)
    made = CompiledStep(
        name=step.name,
        kind=action.kind,
        target=_target(action, automation, catalog),
        test=None if test is None else Expression(test),
        argument=Expression(argument),
    )
    return made, argument.needs_tables or (test is not None and test.needs_tables)


def _target(action: ast.Action, automation: Automation, catalog: Catalog) -> str:
    """The key a step's target stands for: as the checker resolved it, or by name with or without the kind
    before it."""
    if action.kind == "publishEvent":
        return ""
    if action.kind == "automation":
        return automation.automations.get(action.target, action.target)
    table: Mapping[str, Any] = getattr(catalog, _TABLES[action.kind])
    prefixed = f"{action.kind}{action.target[:1].upper()}{action.target[1:]}"
    resolved = automation.scope.calls
    for name in (resolved.get(action.target), resolved.get(prefixed), action.target, prefixed):
        if name is not None and name in table:
            return name
    raise MemqlError(
        Code.UNKNOWN_FUNCTION,
        f"automation {automation.name}: there is no {action.kind} {action.target} (nor {prefixed})",
        context=automation.name,
    )
