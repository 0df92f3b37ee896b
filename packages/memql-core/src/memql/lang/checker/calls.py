"""Checking calls: functions of the language, constructs, and accessors of results (spec "Functions")."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memql.lang import ast
from memql.lang.checker.arguments import check_call_arguments, check_object
from memql.lang.checker.env import Checker, Env
from memql.lang.checker.names import reference_problem
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import ANY, BOOL, DATETIME, NUMBER, TEXT, Value, rows_of
from memql.lang.checker.tree import Declared
from memql.lang.functions import ACCESSORS, DIRECTIVES, FUNCTIONS, RELATION_FUNCTIONS, RESERVED_TOPIC_ROOTS, Function
from memql.lang.literals import literal_value

__all__ = ["check_call", "check_topic"]

_PLACE_NAMES = {"F": "a filter", "W": "a write", "L": "a body", "J": "a projection"}
_BOOLEAN = frozenset({"contains", "exists", "spec"})
_NUMERIC = frozenset({"len", "sum", "avg", "daysBetween"})
_INSTANT = frozenset({"now", "timestamp", "addDuration"})
_TEXTUAL = frozenset(
    {"concat", "toString", "json", "hash", "canonicalId", "shortId", "newId", "lower", "upper", "trim", "secret",
     "systemSecret"}
)  # fmt: skip
_ROWS_FIRST = frozenset({"first", "last"})


def check_call(expr: ast.Call, env: Env, check: Checker) -> Value:
    """Check a call with its arguments and say what it yields."""
    if isinstance(expr.callee, ast.Member):
        return _accessor(expr, expr.callee, env, check)
    if not isinstance(expr.callee, ast.Name):
        env.error("unknown-function", expr.span, "only names can be called")
        return ANY
    name = expr.callee.name
    if name in FUNCTIONS and not (name in RELATION_FUNCTIONS and env.filtering):
        return _function(expr, FUNCTIONS[name], env, check)
    if name in DIRECTIVES:
        env.error(
            "directive-in-body", expr.span, f"{name}(..) stands around a read in a raw query, not in a construct; "
            "use the clauses sort, paginate, asOf, count and shape of a query"
        )  # fmt: skip
        return ANY
    if name in RELATION_FUNCTIONS:
        env.error("filter-value", expr.span, f"{name}(..) yields rows; it is a term of a filter with a filter in it")
        return ANY
    return _construct(expr, name, env, check)


# --- accessors -------------------------------------------------------------------------------------------------------


def _accessor(expr: ast.Call, callee: ast.Member, env: Env, check: Checker) -> Value:
    path = ast.path_of(callee.base)
    if path == ("actor",) or env.filtering:
        env.error("unknown-function", expr.span, f".{callee.name}() is no function; a filter reads paths only")
        return ANY
    base = check(callee.base, env)
    name = str(callee.name)
    known = name in ACCESSORS or (name[:1].isupper() and name.lower() in ACCESSORS)
    if not known:
        spelled = [accessor.capitalize() for accessor in ACCESSORS]
        hint = did_you_mean(name, spelled) or f"; accessors: {listing(sorted(spelled))}"
        env.error("unknown-function", expr.span, f"results have no .{name}(){hint}")
        return ANY
    if expr.args or expr.named:
        env.error("bad-argument", expr.span, f".{name}() takes no arguments")
    kind = name.lower()
    if kind in ("len", "count"):
        return NUMBER
    if kind in ("empty", "ran"):
        return BOOL
    if kind == "nodes":
        return Value("list", item=base.item or ANY)
    return base.item or ANY


# --- functions of the language ---------------------------------------------------------------------------------------


def _function(expr: ast.Call, function: Function, env: Env, check: Checker) -> Value:
    name = function.name
    if not set(function.places) & set(env.places):
        _misplaced(expr, function, env)
        return ANY
    if expr.named:
        env.error("bad-argument", expr.span, f"{name} takes its arguments in order: {function.signature}")
        return ANY
    if not function.accepts(len(expr.args)):
        env.error(
            "bad-argument", expr.span, f"{name} is called as {function.signature}, not with {len(expr.args)} arguments"
        )
        return ANY
    if special := _SPECIAL.get(name):
        return special(expr, env, check)
    before = len(env.facts.row_paths)
    inner = env.guarded(*_argument_names(expr)) if name == "coalesce" else env
    values = [check(arg, inner) for arg in expr.args]
    if env.filtering and not env.row_functions and len(env.facts.row_paths) > before:
        env.error(
            "filter-value", expr.span, f"{name}(..) is applied to row data in a filter; compare the path itself, "
            "and apply functions to arguments only"
        )  # fmt: skip
    if name in _ROWS_FIRST:
        return values[0].item or ANY
    if name in _BOOLEAN:
        return BOOL
    if name in _NUMERIC:
        return NUMBER
    if name in _INSTANT:
        return DATETIME
    return TEXT if name in _TEXTUAL else ANY


def _misplaced(expr: ast.Call, function: Function, env: Env) -> None:
    places = " or ".join(_PLACE_NAMES[place] for place in function.places)
    here = _PLACE_NAMES[env.places[0]]
    if function.name == "si":
        env.error("si-position", expr.span, f"si(..) stands in {places}, not in {here}")
        return
    env.error("unknown-function", expr.span, f"{function.name}(..) stands in {places}, not in {here}")


def _argument_names(expr: ast.Call) -> list[str]:
    paths = (ast.path_of(arg) for arg in expr.args)
    return [str(path[1]) for path in paths if path and len(path) > 1 and path[0] == "args"]


def _canonical_id(expr: ast.Call, env: Env, check: Checker) -> Value:
    before = len(env.facts.row_paths)
    value, concept = expr.args
    check(value, env)
    if env.filtering and not env.row_functions and len(env.facts.row_paths) > before:
        env.error("filter-value", expr.span, "canonicalId(..) is applied to row data in a filter; ids in rows are full")
    text = literal_value(concept)
    if isinstance(concept, ast.Name) and not _is_binding(concept.name, env):
        env.check.names.find(env.owner, "concepts", concept.name, concept.span)
    elif isinstance(text, str):
        env.check.names.find_concept(env.owner, text, concept.span)
    elif isinstance(concept, ast.Literal):
        env.error("bad-argument", concept.span, "the second argument of canonicalId is a concept's name or id")
    else:
        check(concept, env)
    return TEXT


def _is_binding(name: str, env: Env) -> bool:
    return name in (env.bindings or ()) or name in env.pending


def _secret(expr: ast.Call, env: Env, check: Checker) -> Value:
    check(expr.args[0], env)
    if not env.builtin_argument:
        env.error(
            "bad-argument",
            expr.span,
            "a secret's plaintext is only handed to a builtin: write it as a builtin's argument",
        )
    return TEXT


def _spec(expr: ast.Call, env: Env, check: Checker) -> Value:
    env.facts.decides = True
    name = literal_value(expr.args[0])
    if not isinstance(name, str):
        env.error("bad-argument", expr.span, 'spec takes the name of a context spec in quotes: spec("requiresAdmin")')
        return BOOL
    found = env.check.names.find(env.owner, "predicates", name, expr.span, kinds=("spec", "trait"))
    facts = env.check.predicates.get(found) if found else None
    if found and facts and facts.sound and not facts.is_context:
        env.error(
            "bad-argument", expr.span, f"{name} reads rows; spec(..) evaluates context specs, which read only the actor"
        )
    return BOOL


def _policy(expr: ast.Call, env: Env, check: Checker) -> Value:
    env.facts.decides = True
    name = literal_value(expr.args[0])
    if not isinstance(name, str):
        env.error(
            "bad-argument", expr.span, 'policy takes the name of a decision policy in quotes: policy("canClose", {..})'
        )
        return ANY
    found = env.check.names.find(env.owner, "policies", name, expr.span)
    if found is not None and found.role != "decision policy":
        env.error("wrong-kind", expr.span, f"{name} is a routing policy; policy(..) evaluates decision policies")
        return ANY
    if found is not None and _tier(env.owner) == "core" and _tier(found) == "bff":
        env.error("policy-tier", expr.span, f"{env.owner.name} is of tier core and cannot call {name} of tier bff")
    check_object(expr.args[1:2], expr.span, found, env, check)
    return ANY


def _tier(declared: Declared) -> str:
    return declared.marks.text("tier")


def _si(expr: ast.Call, env: Env, check: Checker) -> Value:
    name = literal_value(expr.args[0])
    if not isinstance(name, str):
        env.error("bad-argument", expr.span, 'si takes the name of a prompt in quotes: si("jobSummary", {..})')
        return ANY
    found = env.check.names.find(env.owner, "prompts", name, expr.span)
    check_object(expr.args[1:2], expr.span, found, env, check)
    for extra in expr.args[2:]:
        value = literal_value(extra)
        if isinstance(value, str):
            space = "policies" if env.check.tree.named("policies", value) else "providers"
            env.check.names.find(env.owner, "policies" if space == "policies" else "providers", value, extra.span)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not 0 <= value <= 300:
                env.error("bad-argument", extra.span, "the answer may be reused for 0 to 300 seconds")
        else:
            check(extra, env)
    return ANY


def _publish_event(expr: ast.Call, env: Env, check: Checker) -> Value:
    argument = expr.args[0]
    check(argument, env.at("LW"))
    if env.owner.role == "decision policy":
        env.error("cqs", expr.span, f"{env.owner.title} only answers; publish from a logic or an automation")
    if isinstance(argument, ast.ObjectExpr):
        check_topic(argument, env)
    return Value("object")


def check_topic(argument: ast.ObjectExpr, env: Env) -> None:
    """Check the object handed to ``publishEvent``: a topic outside the engine's roots, and a payload."""
    members = dict(argument.entries)
    if "topic" not in members:
        env.error("bad-argument", argument.span, "publishEvent needs a topic: { topic: .., payload: .. }")
    for key, value in argument.entries:
        if key not in ("topic", "payload"):
            env.error("bad-argument", value.span, f"publishEvent takes topic and payload, not {key!r}")
    topic = literal_value(members["topic"]) if "topic" in members else None
    if isinstance(topic, str) and (not topic or topic.split(".", 1)[0] in RESERVED_TOPIC_ROOTS):
        env.error(
            "bad-argument", members["topic"].span,
            f"the topic {topic!r} is the engine's own; begin with none of {', '.join(sorted(RESERVED_TOPIC_ROOTS))}",
        )  # fmt: skip


def _lazy(expr: ast.Call, env: Env, check: Checker) -> Value:
    values = [check(arg, env) for arg in expr.args]
    return values[1] if values[1].kind == values[2].kind else ANY


_SPECIAL: Mapping[str, Callable[[ast.Call, Env, Checker], Value]] = {
    "canonicalId": _canonical_id,
    "cond": _lazy,
    "secret": _secret,
    "systemSecret": _secret,
    "spec": _spec,
    "policy": _policy,
    "si": _si,
    "publishEvent": _publish_event,
}


# --- constructs ------------------------------------------------------------------------------------------------------


def _construct(expr: ast.Call, name: str, env: Env, check: Checker) -> Value:
    tree = env.check.tree
    exists = tree.anywhere(name) or name in env.owner.file.imports
    if not exists:
        if name not in tree.lost:
            hint = did_you_mean(name, {*FUNCTIONS, *tree.names("calls")})
            env.error("unknown-function", expr.callee.span, f"there is no function or construct {name!r}{hint}")
        env.facts.sound = False
        for argument in (*expr.args, *(value for _, value in expr.named)):
            check(argument, env)
        return ANY
    target = env.check.names.find(env.owner, "calls", name, expr.callee.span)
    if target is None:
        env.facts.sound = False
        return ANY
    if env.filtering:
        return _inlined(expr, target, env, check)
    check_call_arguments(expr, target, env, check)
    concept = env.check.bound.get(target)
    return rows_of(concept) if concept else Value("nodes") if target.kind in ("query", "mutation") else ANY


def _inlined(expr: ast.Call, target: Declared, env: Env, check: Checker) -> Value:
    """A query called in a filter: it stands for its own filter, so it has to be of the same concept."""
    if target.kind != "query":
        if reference_problem(env.owner, target):
            env.facts.sound = False
            return BOOL  # the pass over the references reports it
        env.error("wrong-kind", expr.span, f"a filter may call a query; {target.title} is none")
        return BOOL
    mine, theirs = env.concept, env.check.bound.get(target)
    if mine and theirs and mine.key != theirs.key:
        env.error(
            "wrong-kind", expr.span, f"{target.name} reads {theirs.key}; a filter calls queries of its own {mine.key}"
        )
    env.facts.row = True
    env.use(target, expr.span)
    before = len(env.facts.row_paths)
    check_call_arguments(expr, target, env, check)
    if len(env.facts.row_paths) > before:
        env.error("filter-value", expr.span, f"the arguments of {target.name} are settled before rows are read")
    return BOOL
