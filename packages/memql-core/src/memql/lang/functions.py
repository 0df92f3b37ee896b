"""The functions of the language: names, where each may stand, and how many arguments it takes (spec
"Functions").

This table is what the checker enforces, what an editor offers and what the reference page prints; the engine
implements the meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "ACCESSORS",
    "ACTOR_FIELDS",
    "CONFIG_KEYS",
    "DIRECTIVES",
    "ENGINE_NAMES",
    "FUNCTIONS",
    "INTRINSICS",
    "RELATION_FUNCTIONS",
    "RESERVED_TOPIC_ROOTS",
    "Function",
    "Place",
]

Place = Literal["F", "W", "L", "J"]
"""F filter, W write block or call argument, L body or step, J projection."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function. ``high`` is None when there is no upper bound; ``places`` are letters of
    :data:`Place`."""

    name: str
    signature: str
    places: str
    low: int
    high: int | None
    summary: str

    def accepts(self, count: int) -> bool:
        """Whether it takes that many arguments."""
        return self.low <= count and (self.high is None or count <= self.high)


_TABLE = (
    Function("now", "now()", "FWLJ", 0, 0, "The instant of the top-level call."),
    Function("timestamp", "timestamp()", "FWLJ", 0, 0, "The instant of the top-level call."),
    Function("coalesce", "coalesce(a, ..)", "FWLJ", 1, None, "The first that is neither null nor blank text."),
    Function("cond", "cond(p, a, b)", "FWL", 3, 3, "a if p holds, else b; the other is not evaluated."),
    Function("concat", "concat(a, ..)", "FWLJ", 1, None, "The texts joined."),
    Function("toString", "toString(v)", "FWLJ", 1, 1, "The text of a value; null is empty."),
    Function("json", "json(v)", "FWLJ", 1, 1, "The JSON text of a value."),
    Function("hash", "hash(v)", "FWL", 1, 1, "Lower-hex SHA-256 of the text of a value."),
    Function("canonicalId", "canonicalId(v, concept)", "FWL", 2, 2, "The full id of v in a concept."),
    Function("shortId", "shortId(v)", "FWL", 1, 1, "The part of an id after its concept."),
    Function("newId", "newId()", "W", 0, 0, "A fresh short id; the same again when an automation's run is repeated."),
    Function("lower", "lower(s)", "FWL", 1, 1, "Lower-case text."),
    Function("upper", "upper(s)", "FWL", 1, 1, "Upper-case text."),
    Function("trim", "trim(s)", "FWL", 1, 1, "Text without surrounding blanks."),
    Function("contains", "contains(s, sub)", "WL", 2, 2, "Whether text holds a substring."),
    Function("addDuration", "addDuration(t, d)", "FWL", 2, 2, "An instant moved by an ISO 8601 duration."),
    Function("daysBetween", "daysBetween(a, b)", "FWL", 2, 2, "Whole days from a to b."),
    Function("first", "first(x)", "WL", 1, 1, "The first element."),
    Function("last", "last(x)", "WL", 1, 1, "The last element."),
    Function("len", "len(x)", "WL", 1, 1, "How many elements."),
    Function("sum", 'sum(x, "path")', "WL", 2, 2, "The sum over a path."),
    Function("avg", 'avg(x, "path")', "WL", 2, 2, "The mean over a path."),
    Function("min", 'min(x, "path")', "WL", 2, 2, "The least value at a path."),
    Function("max", 'max(x, "path")', "WL", 2, 2, "The greatest value at a path."),
    Function("field", 'field(x, "a.b")', "WL", 2, 2, "The value at a path."),
    Function("exists", "exists(x)", "WL", 1, 1, "Whether a value is neither null nor an empty set."),
    Function("var", 'var("NAME"[, default])', "FWL", 1, 2, "A variable: the partition's, else the global one."),
    Function("systemVar", 'systemVar("NAME"[, default])', "FWL", 1, 2, "A global variable."),
    Function("secret", 'secret("NAME")', "WL", 1, 1, "A secret, only as an argument of a builtin."),
    Function("systemSecret", 'systemSecret("NAME")', "WL", 1, 1, "A global secret, only as an argument of a builtin."),
    Function("spec", 'spec("name")', "L", 1, 1, "Whether a context spec holds for the caller."),
    Function("policy", 'policy("name", {..})', "L", 1, 2, "The answer of a decision policy."),
    Function("si", 'si("prompt", {..}[, "provider"][, ttl])', "JL", 1, 4, "The answer of a model to a prompt."),
    Function("publishEvent", "publishEvent({topic, payload})", "L", 1, 1, "Publishes an event and returns it."),
    Function("error", 'error("message")', "WL", 1, 1, "Aborts with INVALID_ARGUMENT."),
)

FUNCTIONS: Final[Mapping[str, Function]] = {function.name: function for function in _TABLE}
"""Every function by name."""

DIRECTIVES: Final = frozenset(
    {"asOf", "sort", "paginate", "select", "shape", "shapeWithBundle", "withDepth", "count", "history", "withDeleted"}
)
"""What may stand around a read in a raw query, and nowhere else."""

RELATION_FUNCTIONS: Final = frozenset(
    {"parentOf", "childOf", "contains", "owns", "aliasOf", "equals", "interactsWith", "createdBy", "ids"}
)
"""Functions of a filter that yield a set of rows."""

ACCESSORS: Final = frozenset({"nodes", "first", "last", "len", "count", "empty", "ran"})
"""Members of result sets and lists, in lower case; the capitalised form means the same."""

INTRINSICS: Final = (
    "id", "concept", "type", "createdAt", "createdBy", "partition", "payload", "schema", "provenance", "metadata",
)  # fmt: skip
"""What every row has, and no concept field may be called."""

ENGINE_NAMES: Final = frozenset({"args", "actor", "now", "partition", "config", "trace"})
"""Names that no argument, binding or alias may take."""

ACTOR_FIELDS: Final = ("userId", "role", "identityId", "isClusterOwner", "primaryEmail", "now", "config")
"""The closed set of ``actor.<field>``."""

CONFIG_KEYS: Final = frozenset({"environment", "region", "nodeType", "nodeId", "clusterDomain"})
"""The allow-list of ``actor.config.<key>``."""

RESERVED_TOPIC_ROOTS: Final = frozenset({"graph", "system", "session", "query", "automation"})
"""First segments of topics that only the engine publishes."""
