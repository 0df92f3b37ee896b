"""Policies: routing ones name providers, decision ones answer a question (spec "Construct rules", Policy)."""

from __future__ import annotations

from typing import Final

from memql.lang import ast
from memql.lang.catalog import Policy
from memql.lang.checker.bodies import check_body
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr
from memql.lang.checker.report import did_you_mean
from memql.lang.checker.tree import Declared
from memql.lang.checker.walk import names_in

__all__ = ["find_model", "read_policies"]

_DECISION_MARKS: Final = ("tier", "frontend_visible", "cacheable", "audited", "traces_persisted", "returns_trace")
_ROUTING_MARKS: Final = ("primary", "fallback", "maxLatencyMs", "maxTimeToFirstTokenMs", "preferredRole")


def read_policies(check: Check) -> dict[str, Policy]:
    """Check and build every policy."""
    built = {}
    for declared in check.tree.of_kind("policy"):
        routing = declared.role == "routing policy"
        built[declared.key] = _routing(check, declared) if routing else _decision(check, declared)
    return built


def find_model(check: Check, declared: Declared, name: str, span: ast.Span, code: str) -> str:
    """The key of a provider or routing policy; anything else is reported under ``code``."""
    tree = check.tree
    candidates = [*tree.named("providers", name), *tree.named("policies", name)]
    if not candidates and name not in declared.file.imports:
        if name not in tree.lost:
            hint = did_you_mean(name, tree.names("providers") | tree.names("policies"))
            check.report.error(code, span, f"there is no provider or routing policy {name!r}{hint}")
        return ""
    if tree.named("providers", name) and tree.named("policies", name):
        check.report.error("ambiguous", span, f"{name!r} is both a provider and a policy; rename one")
        return ""
    found = check.names.find(declared, "policies" if tree.named("policies", name) else "providers", name, span)
    if found is not None and found.role not in ("provider", "routing policy"):
        # A decision policy is above every routing one, so the pass over the layers reports it.
        return ""
    if found is not None and found.marks.has("base"):
        check.report.error(code, span, f"{name} is a base and cannot be called; name a provider that extends it")
        return ""
    return found.key if found else ""


def _routing(check: Check, declared: Declared) -> Policy:
    marks = declared.marks
    primary = marks.get("primary")
    for name in _DECISION_MARKS:
        if mark := marks.get(name):
            check.report.error(
                "bad-policy", mark.span, f"@{name} is for a policy that decides; {declared.name} has no body"
            )
    if primary is None:
        check.report.error(
            "bad-policy", declared.span,
            f'{declared.name} names no provider: add @primary("provider"), or return or body to make it decide',
        )  # fmt: skip
    if check.args[declared]:
        check.report.error("bad-policy", declared.span, f"{declared.name} routes model calls and takes no args")
    first = find_model(check, declared, primary.text(), primary.span, "bad-policy") if primary else ""
    rest = [find_model(check, declared, one.text(), one.span, "bad-policy") for one in marks.all("fallback")]
    for name in ("maxLatencyMs", "maxTimeToFirstTokenMs"):
        mark = marks.get(name)
        if mark is not None and marks.value(name, 1) <= 0:
            check.report.error("bad-annotation", mark.span, f"@{name}: the limit must be above zero")
    return Policy(
        **common(check, declared),
        primary=first,
        fallbacks=tuple(rest),
        max_latency_ms=marks.value("maxLatencyMs"),
        max_time_to_first_token_ms=marks.value("maxTimeToFirstTokenMs"),
        preferred_roles=tuple(one.text() for one in marks.all("preferredRole")),
    )


def _decision(check: Check, declared: Declared) -> Policy:
    decl, marks = declared.decl, declared.marks
    assert isinstance(decl, ast.PolicyDecl)
    for name in _ROUTING_MARKS:
        if mark := marks.get(name):
            check.report.error("bad-policy", mark.span, f"@{name} is for a policy that routes; {declared.name} decides")
    order: tuple[int, ...] = ()
    if decl.body is not None:
        order = check_body(check, declared, decl.body)
    if decl.returns is not None:
        _check_return(check, declared, decl.returns)
    return Policy(
        **common(check, declared),
        args=check.args[declared] or (),
        returns=decl.returns,
        body=decl.body,
        order=order,
        tier=marks.value("tier", ""),
        frontend_visible=marks.has("frontend_visible"),
        cacheable=marks.has("cacheable"),
        audited=marks.has("audited"),
        traces_persisted=marks.has("traces_persisted"),
        returns_trace=marks.has("returns_trace"),
    )


def _check_return(check: Check, declared: Declared, returns: ast.Expr) -> None:
    env = Env(check=check, owner=declared, places="L", args=check.args_of(declared), bindings={})
    value = check_expr(returns, env)
    marked = any(declared.marks.has(name) for name in _DECISION_MARKS)
    if value.boolean and not marked and not env.facts.decides and names_in(returns) == {"actor"}:
        check.report.error(
            "policy-is-spec",
            declared.span,
            f"{declared.name} only asks about the actor; write it as a spec, and call it with spec(..)",
        )
