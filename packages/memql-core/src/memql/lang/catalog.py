"""The checked tree: every enabled construct, resolved and typed, as the engine reads it.

A :class:`Catalog` is immutable. Loading builds a new one; a refused reload keeps the old. Expressions inside
constructs stay as AST, and names in them are looked up through the construct's :class:`Scope`, which holds only what
the checker resolved, so that a look-up at run time cannot fail for a tree that loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from memql.lang import ast
from memql.lang.sources import Sources

__all__ = [
    "ACCESS_CLASSES",
    "AccessClass",
    "Annotations",
    "ArgSpec",
    "Automation",
    "Builtin",
    "Catalog",
    "Concept",
    "Construct",
    "Field",
    "Logic",
    "Mutation",
    "Policy",
    "Prompt",
    "Provider",
    "Query",
    "RateLimit",
    "Relationship",
    "Retry",
    "RowRule",
    "Scope",
    "Seed",
    "Shape",
    "ShapeItem",
    "Spec",
    "Tool",
    "Trigger",
]

AccessClass = Literal["public", "owned", "granted", "admin"]
ACCESS_CLASSES: tuple[AccessClass, ...] = ("public", "owned", "granted", "admin")

Kind = Literal[
    "concept", "shape", "spec", "trait", "query", "mutation", "logic", "automation", "builtin", "prompt",
    "provider", "tool", "policy", "seed",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean inside one construct: local name to the key of a construct, per kind.

    ``concepts`` maps to concept ids. ``predicates`` holds specs and traits, ``calls`` holds queries, mutations, logic
    and builtins (one call namespace), the others their own. Values are catalog keys (tree-wide names).
    """

    concepts: Mapping[str, str] = field(default_factory=dict)
    predicates: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations common to many constructs, typed. Absent ones have their default."""

    enabled: bool = True
    description: str = ""
    deprecated: str | None = None
    public: bool = False
    internal: bool = False
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    timeout: float | None = None
    """Seconds."""
    rate_limit: RateLimit | None = None
    cache_ttl: float | None = None
    """Seconds; 0 is never."""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``@rateLimit``: at most ``requests`` per ``per`` seconds and caller."""

    requests: int
    per: float


@dataclass(frozen=True, slots=True)
class Retry:
    """``@retry``: how many further attempts."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Construct:
    """What every loaded construct has. ``key`` is its tree-wide name (for a concept its id)."""

    key: str
    name: str
    namespace: str
    file: str
    span: ast.Span
    annotations: Annotations = Annotations()
    scope: Scope = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A declared field of a concept, resolved.

    ``type`` is the checked AST type or None for a block; ``fields`` are the declared members of a block or None;
    ``variants`` maps discriminator values to branches when ``discriminator`` is set. ``default`` is the parsed value;
    ``has_default`` tells a default of null from none.
    """

    name: str
    type: ast.TypeExpr | None
    required: bool = False
    has_default: bool = False
    default: Any = None
    unique: bool = False
    immutable: bool = False
    guarded: bool = False
    secret: bool = False
    index: bool = False
    description: str = ""
    fields: tuple[Field, ...] | None = None
    discriminator: str = ""
    variants: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema keywords: pattern, minLength, maxLength, minimum, maximum."""

    @property
    def members(self) -> tuple[Field, ...]:
        """The declared fields inside: of a block, of a list's items, or of all branches of a variant."""
        if self.fields is not None:
            return self.fields
        return tuple(member for branch in self.variants.values() for member in branch)

    @property
    def is_datetime(self) -> bool:
        """Whether values are instants."""
        return isinstance(self.type, ast.ScalarType) and self.type.name == "datetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """``@relationship``; ``target`` is a concept id, ``many`` tells a list field."""

    type: str
    field: str
    target: str
    direction: str = "outgoing"
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """``@rowAuthz``: exactly one is set. ``via`` is the key of a spec."""

    owner: str = ""
    via: str = ""
    cluster_owner: bool = False
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept(Construct):
    """A schema. ``key`` is ``v<MAJOR>:<namespace>:<name>``; ``row_type`` is object, collection or reference.

    ``schema_id`` is ``v1.ops.job``; ``json_schema`` the closed 2020-12 schema of live payloads, ``schema_hash`` the
    lower-hex SHA-256 of its RFC 8785 form.
    """

    version: str
    row_type: str
    fields: tuple[Field, ...]
    relationships: tuple[Relationship, ...]
    json_schema: Mapping[str, Any]
    schema_id: str
    schema_hash: str
    row_rule: RowRule | None = None
    secret_store: bool = False
    default_filter: ast.Expr | None = None
    display_card: Mapping[str, str] = field(default_factory=dict)

    def field(self, name: str) -> Field | None:
        """The declared top-level field of that name."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        return None

    def path(self, segments: tuple[str | int, ...]) -> Field | None:
        """The declared field a payload path ends at, through blocks, variants and lists of blocks.

        None when it leaves what is declared (open objects, list items), or means different fields in two branches.
        """
        members: tuple[Field, ...] = self.fields
        found: Field | None = None
        for segment in segments:
            if isinstance(segment, int) and found is not None and isinstance(found.type, ast.ListType):
                found = None
                continue
            matches = [candidate for candidate in members if candidate.name == segment]
            if not matches or any(candidate != matches[0] for candidate in matches):
                return None
            found = matches[0]
            members = found.members
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgSpec:
    """One argument of a callable, or one field of a builtin, prompt or tool.

    ``json_schema`` is the schema of its value; ``auto_injected`` ones are stamped by the server.
    """

    name: str
    type: ast.TypeExpr
    required: bool
    has_default: bool = False
    default: Any = None
    description: str = ""
    auto_injected: bool = False
    json_schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeItem:
    """One member of a shape, includes expanded: output ``key`` and the path (first segment row, payload or actor)."""

    key: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Construct):
    """A flat projection. ``concept`` is a concept id or empty for a trait shape."""

    concept: str
    items: tuple[ShapeItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Construct):
    """A named predicate, spec or trait. ``is_context`` ones refer only to the actor and run in process."""

    filter: ast.Expr
    is_trait: bool
    is_context: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Construct):
    """A named read. ``filter`` is None for all rows of the concept; ``sort`` pairs a field and a direction."""

    concept: str
    args: tuple[ArgSpec, ...]
    filter: ast.Expr | None
    shape: str = ""
    sort: tuple[tuple[str, Literal["asc", "desc"]], ...] = ()
    paginate: ast.Expr | None = None
    as_of: ast.Expr | None = None
    count: bool = False
    access: AccessClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation(Construct):
    """A named write."""

    concept: str
    args: tuple[ArgSpec, ...]
    filter: ast.Expr | None
    write: ast.Write
    merge_fields: tuple[str, ...] = ()
    audit: bool = False
    idempotent: bool = False
    retry: Retry | None = None
    access: AccessClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic(Construct):
    """A body. ``order`` lists the indexes of ``body.statements`` in execution order (stable topological)."""

    args: tuple[ArgSpec, ...]
    body: ast.Block
    order: tuple[int, ...]
    atomic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Exactly one of ``pattern`` (an event topic pattern) and ``schedule`` (6-field cron, seconds first, UTC)."""

    pattern: str = ""
    schedule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation(Construct):
    """Steps behind a trigger. ``steps[i].action.target`` names resolve through ``scope.calls``, an automation's
    through ``automations``. ``filter`` sees payload, topic and kind."""

    trigger: Trigger
    filter: ast.Expr | None
    args: tuple[ArgSpec, ...] | None
    steps: tuple[ast.Step, ...]
    automations: Mapping[str, str] = field(default_factory=dict)
    run_async: bool = False
    atomic: bool = False
    audit: bool = False
    retry: Retry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin(Construct):
    """The typed front of an executor."""

    executor: str
    fields: tuple[ArgSpec, ...]
    profile: Literal["none", "object", "optionalString", "stringOrObject"] = "object"
    string_key: str = ""
    additional_properties: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Construct):
    """A template with typed fields; ``provider`` names a provider or a routing policy, ``template`` is its text."""

    fields: tuple[ArgSpec, ...]
    provider: str
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider(Construct):
    """A model vendor (``base``) or one of its models. ``auth`` values are text or :class:`ast.EnvRef`; those and
    ``params`` are merged with the base's."""

    base: bool
    extends: str
    type: str
    model: str
    modality: str
    default: bool
    auth: Mapping[str, str | ast.EnvRef]
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Construct):
    """Exactly one of ``query`` (a parsed call whose ``$args.x`` are bound at run time) and ``function`` (a key)."""

    fields: tuple[ArgSpec, ...]
    query: ast.Read | None = None
    function: str = ""
    input_schema: Mapping[str, Any]
    execution_time: str = ""
    allowed_roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    client_execution: bool = False
    destructive: bool = False
    requires_confirmation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Construct):
    """A routing policy (``primary`` set) or a decision policy (``returns`` or ``body`` set)."""

    args: tuple[ArgSpec, ...] = ()
    primary: str = ""
    fallbacks: tuple[str, ...] = ()
    max_latency_ms: int | None = None
    max_time_to_first_token_ms: int | None = None
    preferred_roles: tuple[str, ...] = ()
    returns: ast.Expr | None = None
    body: ast.Block | None = None
    order: tuple[int, ...] = ()
    tier: Literal["", "core", "bff"] = ""
    frontend_visible: bool = False
    cacheable: bool = False
    audited: bool = False
    traces_persisted: bool = False
    returns_trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed(Construct):
    """A row to write at startup. ``payload`` has no intrinsics; ``template`` text goes to field systemPrompt."""

    concept: str
    id: str
    payload: Mapping[str, Any]
    per_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that loaded. ``version`` changes with the content (a hash of all sources); keys are tree-wide.

    Disabled constructs are checked but not registered; ``disabled`` maps their call names to kinds, for messages.
    """

    version: str
    concepts: Mapping[str, Concept] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    specs: Mapping[str, Spec] = field(default_factory=dict)
    queries: Mapping[str, Query] = field(default_factory=dict)
    mutations: Mapping[str, Mutation] = field(default_factory=dict)
    logics: Mapping[str, Logic] = field(default_factory=dict)
    automations: Mapping[str, Automation] = field(default_factory=dict)
    builtins: Mapping[str, Builtin] = field(default_factory=dict)
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    sources: Sources = field(default=Sources({}), compare=False, repr=False)
    """The texts it was made from, for editors."""

    def callable(self, name: str) -> Query | Mutation | Logic | Builtin | None:
        """The callable of that tree-wide name (a builtin also by an alias), or None."""
        return (
            self.queries.get(name)
            or self.mutations.get(name)
            or self.logics.get(name)
            or self.builtins.get(name)
            or next((builtin for builtin in self.builtins.values() if name in builtin.aliases), None)
        )
