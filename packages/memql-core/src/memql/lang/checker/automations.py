"""Automations: triggers, filters, steps (spec "Construct rules", Automation)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from memql.lang import ast
from memql.lang.annotations import Bound
from memql.lang.catalog import ArgSpec, Automation, Concept, Field, Kind, Trigger
from memql.lang.checker.arguments import check_arguments
from memql.lang.checker.build import common
from memql.lang.checker.calls import check_topic
from memql.lang.checker.check import Check
from memql.lang.checker.cron import normalise_schedule, schedule_problem
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr
from memql.lang.checker.filters import check_filter
from memql.lang.checker.marks import read_retry
from memql.lang.checker.predicates import check_uses
from memql.lang.checker.report import did_you_mean
from memql.lang.checker.static import TEXT, Value
from memql.lang.checker.tree import Declared
from memql.lang.literals import NOT_LITERAL, literal_value

__all__ = ["read_automations"]

_NODE_EVENTS: Final = ("node.created", "node.updated", "node.deleted")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_:*?#-]+(?:\.[A-Za-z0-9_:*?#-]+)*")
_STRING: Final = ast.ScalarType("string")
_ENVELOPE: Final = ("id", "nodeId", "concept", "actor", "nodeType", "createdAt", "oldStatus")
_KINDS: Final[Mapping[str, Kind]] = {
    "logic": "logic", "query": "query", "mutation": "mutation", "builtin": "builtin", "automation": "automation",
}  # fmt: skip
_DEFAULT_ARGS: Final = {
    "topic": ArgSpec(name="topic", type=_STRING, required=True),
    "kind": ArgSpec(name="kind", type=_STRING, required=True),
    "payload": ArgSpec(name="payload", type=ast.ScalarType("object"), required=True),
}


def read_automations(check: Check) -> dict[str, Automation]:
    """Check and build every automation."""
    return {declared.key: _automation(check, declared) for declared in check.tree.of_kind("automation")}


def _automation(check: Check, declared: Declared) -> Automation:
    decl, marks = declared.decl, declared.marks
    assert isinstance(decl, ast.AutomationDecl)
    trigger, concept = _trigger(check, declared)
    payload = _event_payload(concept)
    condition = marks.value("filter")
    if condition is not None:
        _check_filter(check, declared, condition, payload, concept)
        _warn_redundant(check, condition, trigger, concept)
    _check_steps(check, declared, decl.steps, payload)
    return Automation(
        **common(check, declared),
        trigger=trigger,
        filter=condition,
        args=check.args[declared],
        steps=decl.steps,
        automations=dict(declared.names.get("automations", {})),
        run_async=marks.has("async"),
        atomic=marks.has("atomic"),
        audit=marks.has("audit"),
        retry=read_retry(check.report, marks),
    )


# --- triggers --------------------------------------------------------------------------------------------------------


def _trigger(check: Check, declared: Declared) -> tuple[Trigger, Concept | None]:
    trigger, schedule = declared.marks.get("trigger"), declared.marks.get("schedule")
    if trigger is None and schedule is None:
        check.report.error(
            "bad-trigger", declared.span,
            f'{declared.name} has no trigger: add @trigger(event="node.created", concept=..) or '
            '@trigger(schedule="0 0 6 * * *")',
        )  # fmt: skip
        return Trigger(), None
    if trigger is not None and schedule is not None:
        check.report.error("bad-trigger", schedule.span, "an automation has one trigger; split it in two")
        return Trigger(), None
    mark = trigger or schedule
    assert mark is not None
    if mark.problems:
        return Trigger(), None
    event, cron = mark.text("event"), mark.text("schedule") or mark.text("cron")
    if bool(event) == bool(cron):
        check.report.error("bad-trigger", mark.span, "a trigger is exactly one of event=.. and schedule=..")
        return Trigger(), None
    return _scheduled(check, mark, cron) if cron else _on_event(check, declared, mark, event)


def _scheduled(check: Check, mark: Bound, cron: str) -> tuple[Trigger, None]:
    if "concept" in mark.values:
        check.report.error("bad-trigger", mark.span, "a schedule has no concept; leave it out")
    if problem := schedule_problem(cron):
        check.report.error("bad-cron", mark.span, problem)
    return Trigger(schedule=normalise_schedule(cron)), None


def _on_event(check: Check, declared: Declared, mark: Bound, event: str) -> tuple[Trigger, Concept | None]:
    name = mark.text("concept")
    if event not in _NODE_EVENTS:
        if name:
            hint = did_you_mean(event, _NODE_EVENTS)
            check.report.error(
                "bad-trigger", mark.span, f"only node events have a concept, and {event!r} is none{hint}"
            )
        elif not _PATTERN.fullmatch(event):
            check.report.error(
                "bad-trigger", mark.span, f"{event!r} is no topic pattern: words, * and # joined by dots"
            )
        return Trigger(pattern=event), None
    if not name:
        check.report.error("bad-trigger", mark.span, f'{event} needs the concept it is about: concept="v1:ops:visit"')
        return Trigger(), None
    short = name.rpartition(":")[2].rpartition(".")[2]
    if ":" in name:
        known = check.tree.concept(name) is not None
    else:
        known = bool(check.tree.named("concepts", short)) or short in declared.file.imports
    if not known:
        if short not in check.tree.lost:
            hint = did_you_mean(name, [*check.tree.concept_ids, *check.tree.names("concepts")])
            check.report.error("bad-trigger", mark.span, f"there is no concept {name!r}{hint}")
        return Trigger(), None
    found = check.names.find_concept(declared, name, mark.span)
    if found is None:
        return Trigger(), None
    return Trigger(pattern=f"graph.{event}.{found.key}"), check.concepts[found.key]


def _event_payload(concept: Concept | None) -> Value:
    """What ``payload`` of an event holds: for rows of a concept its fields, the envelope's, and the payload itself."""
    if concept is None:
        return Value("object")
    own = {field.name for field in concept.fields}
    envelope = (Field(name=name, type=_STRING) for name in _ENVELOPE if name not in own)
    whole = Field(name="payload", type=None, fields=concept.fields)
    return Value("object", fields=(*concept.fields, *envelope, whole), origin=f"the event of {concept.key}")


def _check_filter(
    check: Check, declared: Declared, condition: ast.Expr, payload: Value, concept: Concept | None
) -> None:
    env = Env(
        check=check,
        owner=declared,
        places="F",
        concept=concept,
        roots={"payload": payload, "topic": TEXT, "kind": TEXT},
        row_functions=True,
    )
    check_filter(condition, env)
    check_uses(check, env.facts)


def _warn_redundant(check: Check, condition: ast.Expr, trigger: Trigger, concept: Concept | None) -> None:
    terms = condition.items if isinstance(condition, ast.BoolOp) and condition.op == "&&" else (condition,)
    facts: dict[tuple[str | int, ...], str] = {("payload", "concept"): concept.key if concept else ""}
    if trigger.pattern and not set(trigger.pattern) & set("*#?"):
        facts[("topic",)] = trigger.pattern
    for term in terms:
        if not isinstance(term, ast.Compare) or term.op != "==":
            continue
        for path, value in ((ast.path_of(term.left), term.right), (ast.path_of(term.right), term.left)):
            wanted = value.id if isinstance(value, ast.ConceptRef) else literal_value(value)
            known = facts.get(path or ())
            if known and wanted is not NOT_LITERAL:
                verb = "repeats" if wanted == known else "contradicts"
                check.report.warn(
                    "redundant-filter", term.span, f"this {verb} the trigger, which fixes {known}; remove it"
                )


# --- steps -----------------------------------------------------------------------------------------------------------


def _check_steps(check: Check, declared: Declared, steps: tuple[ast.Step, ...], payload: Value) -> None:
    members = (Field(name="topic", type=_STRING), Field(name="kind", type=_STRING), Field(name="actor", type=_STRING))
    stamp = Field(name="timestamp", type=ast.ScalarType("datetime"))
    body = Field(name="payload", type=None, fields=payload.fields)
    event = Value("object", fields=(*members, stamp, body), origin="the event")
    args = check.args_of(declared)
    done: set[str] = set()
    for step in steps:
        env = Env(
            check=check,
            owner=declared,
            places="L",
            args=_DEFAULT_ARGS if args is None else args,
            roots={"event": event},
            bindings={},
            steps=frozenset(done),
        )
        if step.name in done:
            env.error("duplicate-field", step.span, f"the step {step.name!r} stands twice; rename one")
        if step.test is not None:
            check_expr(step.test, env)
        _check_action(declared, step.action, env)
        done.add(step.name)


def _check_action(declared: Declared, action: ast.Action, env: Env) -> None:
    inner = env.at("LW")
    if action.kind == "publishEvent":
        check_expr(action.argument, inner)
        check_topic(action.argument, inner)
        return
    kind = _KINDS[action.kind]
    target = env.check.names.find_call(declared, kind, action.target, action.span)
    if target is None:
        check_expr(action.argument, inner)
        return
    check_arguments(action.argument, target, inner.for_builtin(target.kind == "builtin"), check_expr)
