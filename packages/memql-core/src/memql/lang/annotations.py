"""The annotations of the language: what may stand where, with which arguments (spec "Annotations").

One table serves the checker, the editor and the reference page. :func:`bind` reads one annotation's arguments
by its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from memql.lang import ast
from memql.lang.literals import NOT_LITERAL, literal_value, parse_duration

__all__ = [
    "ANNOTATIONS",
    "LEGACY",
    "AnnotationRow",
    "Bound",
    "Param",
    "Target",
    "allowed_on",
    "bind",
    "row_for",
    "signature",
]

Target = Literal[
    "concept", "field", "arg", "builtin field", "prompt field", "tool field", "shape", "spec", "trait", "query",
    "mutation", "logic", "automation", "builtin", "prompt", "provider", "tool", "policy", "seed",
]  # fmt: skip
"""What an annotation can stand on: a construct, a field of a concept, an argument, or a field of an
interface."""

ParamKind = Literal["string", "int", "number", "bool", "duration", "reference", "literal", "filter", "name", "strings"]
"""``reference`` is a string, a concept id or a path; ``name`` one of ``choices`` without quotes; ``strings``
takes all remaining positional arguments."""

_LETTERS: Final[Mapping[str, tuple[Target, ...]]] = {
    "C": ("concept",), "F": ("field",), "A": ("arg",), "N": ("builtin field", "prompt field", "tool field"),
    "I": ("tool field",), "H": ("shape",), "S": ("spec",), "T": ("trait",), "Q": ("query",), "M": ("mutation",),
    "L": ("logic",), "U": ("automation",), "B": ("builtin",), "P": ("prompt",), "V": ("provider",), "O": ("tool",),
    "Y": ("policy",), "D": ("seed",),
}  # fmt: skip
_EVERYWHERE: Final = "CFANHSTQMLUBPVOYD"


@dataclass(frozen=True, slots=True)
class Param:
    """One argument. ``choices`` closes the set of its values; ``positional`` ones are given without a
    name."""

    name: str
    kind: ParamKind
    required: bool = True
    positional: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """One row of the table; an annotation that means different things on different targets has several
    rows."""

    name: str
    targets: frozenset[Target]
    summary: str
    params: tuple[Param, ...] = ()
    repeatable: bool = False
    repeated: str = "duplicate-annotation"
    """The code given when one that is not repeatable stands twice."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One annotation with its arguments read. ``values`` holds only the arguments that were given and fit."""

    name: str
    span: ast.Span
    values: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def text(self, name: str = "value", default: str = "") -> str:
        """A text argument."""
        value = self.values.get(name, default)
        return value if isinstance(value, str) else default


def _row(
    letters: str,
    name: str,
    summary: str,
    *params: Param,
    repeatable: bool = False,
    repeated: str = "duplicate-annotation",
) -> AnnotationRow:
    targets = frozenset(target for letter in letters for target in _LETTERS[letter])
    return AnnotationRow(name, targets, summary, params, repeatable, repeated)


def _one(kind: ParamKind, *choices: str, required: bool = True) -> Param:
    return Param("value", kind, required=required, positional=True, choices=choices)


def _named(name: str, kind: ParamKind, *choices: str, required: bool = True) -> Param:
    return Param(name, kind, required=required, choices=choices)


_MANY: Final = Param("values", "strings", positional=True)

ANNOTATIONS: Final[tuple[AnnotationRow, ...]] = (
    _row(_EVERYWHERE, "description", "What it is, for people and models.", _one("string")),
    _row("STQMLUBPVOD", "enabled", "Registers it; queries, mutations, builtins, tools and automations need this."),
    _row("STQMLUBPVOD", "disabled", "Checks the construct without registering it; wins over @enabled."),
    _row("QMLUBO", "deprecated", "Warns where the construct is used.", _one("string", required=False)),
    _row("C", "version", "MAJOR.MINOR.PATCH of the schema; the major is part of the id.", _one("string")),
    _row("DQMU", "version", "A tag.", _one("string")),
    _row("CD", "namespace", "The namespace, instead of the directory's name.", _one("string")),
    _row("C", "type", "What the rows are; a collection needs a contains, a reference an alias or equals relationship.",
         _one("string", "object", "collection", "reference")),
    _row("C", "displayCard", "Which fields a generic client shows.", _named("primary", "string"),
         _named("secondary", "string", required=False), _named("tertiary", "string", required=False),
         _named("status", "string", required=False)),
    _row("CQ", "cache", "How long results may be reused: seconds or a duration, at most 300 s; 0 is never.",
         _named("ttl", "duration")),
    _row("C", "skipDeleted", "Always on."),
    _row("C", "enforceRequired", "Always on."),
    _row("C", "defaultFilter", "A filter that is added to raw reads.", _one("string")),
    _row("C", "rowAuthz", "Who may see and change rows: exactly one of its arguments.",
         _named("owner", "reference", required=False), _named("via", "reference", required=False),
         Param("rule", "name", required=False, positional=True, choices=("clusterOwner", "public"))),
    _row("C", "secretStore", "Rows are kept in the table of secrets."),
    _row("F", "index", "Wants a database index."),
    _row("F", "variant", "One branch for each value of the sibling enum.",
         _named("discriminator", "string")),
    _row("C", "relationship", "A pointer to rows of a concept.",
         _named("type", "string"), _named("field", "string"), _named("target", "reference"),
         _named("direction", "string", required=False), repeatable=True),
    _row("FAN", "required", "Must be given."),
    _row("FAN", "default", "The value when absent: text read by type, or a literal.", _one("literal")),
    _row("F", "unique", "No two live rows share a value."),
    _row("F", "immutable", "Never changed or removed once set."),
    _row("F", "guarded", "Only the system and the cluster owner set or change it; others leave it at its default."),
    _row("F", "secret", "Shown as *** below admin, never logged."),
    _row("FA", "pattern", "A regular expression that text must match.", _one("string")),
    _row("FA", "minLength", "The least number of characters.", _one("int")),
    _row("FA", "maxLength", "The greatest number of characters.", _one("int")),
    _row("FA", "minimum", "The least number.", _one("number")),
    _row("FA", "maximum", "The greatest number.", _one("number")),
    _row("AN", "enum", "The closed set of values.", _MANY),
    _row("I", "autoInjected", "Stamped by the server; not part of the input schema."),
    _row("H", "row", "May project the row."),
    _row("H", "actor", "May project the actor."),
    _row("S", "shape", "Limits the body to the paths of that shape.", _one("reference")),
    _row("QMLB", "public", "Anyone may call it, guests too."),
    _row("QMLUB", "internal", "Not callable by clients."),
    _row("QMLUBO", "role", "The caller's role must be at or above the lowest one named.", _MANY),
    _row("QMLB", "permission", "The caller must hold the scope.", _one("string")),
    _row("QMLU", "timeout", "How long one run may take; 30 s unless given.", _one("duration")),
    _row("QMUO", "rateLimit", "How often one caller may call it; of an automation also how often its trigger starts "
         "a run: further ones wait.", _named("requests", "int"), _named("per", "duration")),
    _row("MU", "retry", "How many further attempts after a failure.", _named("count", "int")),
    _row("MU", "audit", "Writes one audit row per run."),
    _row("M", "idempotent", "A repeated call with equal arguments writes nothing new."),
    _row("M", "mergeFields", "Object fields that an update merges deeply.", _MANY),
    _row("LU", "atomic", "One transaction; events follow after commit."),
    _row("U", "trigger", "What starts it: an event or a schedule, exactly one.",
         _named("event", "string", required=False), _named("concept", "reference", required=False),
         _named("partition", "string", required=False), _named("schedule", "string", required=False)),
    _row("U", "schedule", "A cron schedule, UTC.", _named("cron", "string")),
    _row("U", "filter", "Which events start it; sees payload, topic and kind.", _one("filter")),
    _row("U", "async", "The publisher does not wait."),
    _row("B", "executor", "The host function behind it.", _one("string")),
    _row("B", "args", "The form of its arguments.",
         _named("profile", "string", "none", "object", "optionalString", "stringOrObject", required=False),
         _named("stringKey", "string", required=False), _named("additionalProperties", "bool", required=False)),
    _row("B", "alias", "A further name.", _one("string"), repeatable=True),
    _row("PD", "templateFile", "A file below the namespace's directory.", _one("string")),
    _row("P", "defaultProvider", "The provider or routing policy that answers.", _one("reference")),
    _row("V", "base", "Holds type and credentials for others to extend; not callable."),
    _row("V", "extends", "The base it takes type, credentials and parameters from.", _one("reference")),
    _row("V", "type", "The vendor's client.", _one("string")),
    _row("V", "model", "The vendor's name of the model.", _one("string")),
    _row("V", "modality", "What the model does; chat unless given.", _one("string")),
    _row("V", "default", "The provider of its modality when none is named."),
    _row("O", "handler", "What answers: a query, or a construct by name.",
         _named("type", "string", "query", "function"),
         _named("query", "string", required=False), _named("name", "reference", required=False),
         repeated="bad-handler"),
    _row("O", "executionTime", "How long it usually takes, for clients.", _one("string")),
    _row("O", "allowedRoles", "Roles of agents that may use it.", _MANY),
    _row("O", "scopes", "Scopes the caller must hold.", _MANY),
    _row("O", "requires", "Capabilities the executor must have.", _MANY),
    _row("O", "clientExecution", "The client runs it."),
    _row("O", "destructive", "It changes what cannot be brought back."),
    _row("O", "requiresConfirmation", "A person confirms each run."),
    _row("Y", "primary", "The provider or routing policy that is asked first.", _one("reference")),
    _row("Y", "fallback", "The next one, in order.", _one("reference"), repeatable=True),
    _row("Y", "maxLatencyMs", "How long one provider may take.", _one("int")),
    _row("Y", "maxTimeToFirstTokenMs", "How long the first output may take.", _one("int")),
    _row("Y", "preferredRole", "A node role that should make the call.", _one("string"), repeatable=True),
    _row("Y", "tier", "Who may evaluate it: bff policies may be shown to clients.", _one("string", "core", "bff")),
    _row("Y", "frontend_visible", "Clients may evaluate it."),
    _row("Y", "cacheable", "Its answers are reused per arguments and caller: five minutes, or until what it read is "
         "written."),
    _row("Y", "audited", "Each answer leaves an audit row."),
    _row("Y", "traces_persisted", "Each evaluation's trace is stored, without secrets: `v1:platform:policyTrace`."),
    _row("Y", "returns_trace", "The answer carries its trace."),
    _row("D", "scope", "One row, or one for each user.", _one("string", "global", "perUser")),
)  # fmt: skip
"""Every annotation."""

_INDEX: Final = {(row.name, target): row for row in ANNOTATIONS for target in row.targets}

LEGACY: Final[Mapping[str, str]] = {
    "caller": "read the caller through actor.<field>",
    "use": "import with: use <namespace>.<kind>.{ name }",
    "input": "declare arguments with: args { name type }",
    "template": "name a file with @templateFile",
    "concepts": "concepts are named in the signature and imported with use",
}
"""Retired annotations and what to write instead; any other ``@use...`` is like ``@use``."""


def row_for(name: str, target: Target) -> AnnotationRow | None:
    """The row of an annotation on a target, or None when it may not stand there."""
    return _INDEX.get((name, target))


def allowed_on(target: Target) -> tuple[str, ...]:
    """The names that may stand on a target, sorted."""
    return tuple(sorted({row.name for row in ANNOTATIONS if target in row.targets}))


def bind(annotation: ast.Annotation, row: AnnotationRow) -> Bound:
    """Read the arguments of an annotation by its row; what does not fit is told in ``problems``."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    positional = [param for param in row.params if param.positional]
    named = {param.name: param for param in row.params if not param.positional}
    for arg in annotation.args:
        if arg.name:
            param = named.get(arg.name)
            if param is None:
                problems.append(f"it takes no argument named {arg.name!r}{_takes(row)}")
                continue
        elif positional:
            param = positional[0] if positional[0].kind == "strings" else positional.pop(0)
        else:
            problems.append(f"it takes no further argument without a name{_takes(row)}")
            continue
        if arg.name in values:
            problems.append(f"{arg.name!r} is given twice")
            continue
        _assign(values, problems, param, arg.value)
    if not problems:
        missing = [param for param in row.params if param.required and param.name not in values]
        problems.extend(f"{_label(param)} is missing{_takes(row)}" for param in missing)
    return Bound(annotation.name, annotation.span, values, tuple(problems))


def _assign(values: dict[str, Any], problems: list[str], param: Param, expr: ast.Expr) -> None:
    value, expected = _read(param, expr)
    if expected:
        problems.append(f"{_label(param)} must be {expected}")
    elif param.kind == "strings":
        values.setdefault(param.name, []).append(value)
    elif param.choices and value not in param.choices:
        problems.append(f"{_label(param)} must be one of {', '.join(param.choices)}")
    else:
        values[param.name] = value


def _label(param: Param) -> str:
    return "its argument" if param.positional else f"{param.name!r}"


def _takes(row: AnnotationRow) -> str:
    if not row.params:
        return f"; write @{row.name}"
    return "; write " + signature(row)


def signature(row: AnnotationRow) -> str:
    """How the annotation is written, for messages and the reference page."""
    if not row.params:
        return f"@{row.name}"
    parts = []
    for param in row.params:
        sample = "|".join(f'"{c}"' if param.kind == "string" else c for c in param.choices) or _SAMPLES[param.kind]
        part = sample if param.positional else f"{param.name}={sample}"
        parts.append(part if param.required else f"[{part}]")
    return f"@{row.name}({', '.join(parts)})"


_SAMPLES: Final[Mapping[str, str]] = {
    "string": '".."', "int": "n", "number": "n", "bool": "true", "duration": '"30s"', "reference": "name",
    "literal": "value", "filter": "filter", "name": "name", "strings": '"a", ".."',
}  # fmt: skip


def _read(param: Param, expr: ast.Expr) -> tuple[Any, str]:
    """The value of an argument and, when it does not fit, what was expected."""
    if param.kind == "filter":
        return expr, ""
    if param.kind == "name":
        path = ast.path_of(expr)
        return (
            (path[0], "") if path and len(path) == 1 else (None, f"one of {', '.join(param.choices)}, without quotes")
        )
    if param.kind == "reference":
        return _read_reference(expr)
    value = literal_value(expr)
    if value is NOT_LITERAL:
        return None, _EXPECTED[param.kind]
    if param.kind == "duration":
        seconds = parse_duration(value)
        return seconds, "" if seconds is not None else _EXPECTED["duration"]
    return value, "" if _fits(param.kind, value) else _EXPECTED[param.kind]


def _read_reference(expr: ast.Expr) -> tuple[Any, str]:
    if isinstance(expr, ast.ConceptRef):
        return expr.id, ""
    if isinstance(expr, ast.Literal) and isinstance(expr.value, str):
        return expr.value, ""
    path = ast.path_of(expr)
    return (".".join(map(str, path)), "") if path else (None, "a name")


def _fits(kind: ParamKind, value: object) -> bool:
    if kind in ("string", "strings"):
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True


_EXPECTED: Final[Mapping[str, str]] = {
    "string": "text in quotes", "int": "a whole number", "number": "a number", "bool": "true or false",
    "duration": 'a duration such as "30s" or "5m", or seconds', "literal": "a literal value",
    "strings": "text in quotes",
}  # fmt: skip
