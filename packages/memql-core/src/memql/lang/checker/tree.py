"""What was declared: files, constructs and the look-up tables over them (spec "Tree and override")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from memql.lang import ast
from memql.lang.catalog import Kind, Scope
from memql.lang.checker.marks import Marks

__all__ = ["KINDS", "LAYERS", "MODULES", "SPACES", "Declared", "Edge", "Import", "SourceFile", "Space", "Tree"]

Space = Literal[
    "concepts", "shapes", "predicates", "calls", "automations", "prompts", "providers", "policies", "tools", "seeds"
]
"""Where a name is unique. Specs and traits share one, and so do queries, mutations, logic and builtins."""

KINDS: Final[Mapping[type, Kind]] = {
    ast.ConceptDecl: "concept", ast.ShapeDecl: "shape", ast.SpecDecl: "spec", ast.TraitDecl: "trait",
    ast.QueryDecl: "query", ast.MutationDecl: "mutation", ast.LogicDecl: "logic", ast.AutomationDecl: "automation",
    ast.BuiltinDecl: "builtin", ast.PromptDecl: "prompt", ast.ProviderDecl: "provider", ast.ToolDecl: "tool",
    ast.PolicyDecl: "policy", ast.SeedDecl: "seed",
}  # fmt: skip

SPACES: Final[Mapping[Kind, Space]] = {
    "concept": "concepts", "shape": "shapes", "spec": "predicates", "trait": "predicates", "query": "calls",
    "mutation": "calls", "logic": "calls", "builtin": "calls", "automation": "automations", "prompt": "prompts",
    "provider": "providers", "policy": "policies", "tool": "tools", "seed": "seeds",
}  # fmt: skip

MODULES: Final[Mapping[str, Kind]] = {
    "concepts": "concept", "shapes": "shape", "specs": "spec", "traits": "trait", "queries": "query",
    "mutations": "mutation", "logic": "logic", "automations": "automation", "builtins": "builtin",
    "prompts": "prompt", "providers": "provider", "tools": "tool", "policies": "policy", "seeds": "seed",
}  # fmt: skip
"""The last segment of an import path, and the kind it holds."""

LAYERS: Final[Mapping[str, int]] = {
    "concept": 0, "shape": 1, "spec": 2, "trait": 2, "mutation": 3, "builtin": 3, "seed": 3, "provider": 3,
    "query": 4, "routing policy": 4, "prompt": 4, "logic": 5, "decision policy": 5, "automation": 6, "tool": 6,
}  # fmt: skip
"""Layer by role; the two forms of a policy are two roles."""

_ON_BY_REQUEST: Final = frozenset({"query", "mutation", "automation", "builtin", "tool"})
_LOOKS_DECLARED: Final = re.compile(
    r"\b(?:concept|shape|spec|trait|query|mutation|logic|automation|builtin|prompt|provider|tool|policy|seed)"
    r"\s+(\w+)(?:\s+(\w+))?\s*\{"
)


@dataclass(slots=True, eq=False)
class Import:
    """One imported name of a file."""

    local: str
    symbol: str
    targets: tuple[Declared, ...]
    span: ast.Span
    used: bool = False


@dataclass(slots=True, eq=False)
class SourceFile:
    """One file: ``directory`` is its first path segment, ``namespace`` the effective one."""

    path: str
    directory: str
    namespace: str
    ast: ast.File
    defaults: Marks
    imports: dict[str, Import] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    """One reference; ``ordered`` ones obey the layers."""

    target: Declared
    span: ast.Span
    ordered: bool


@dataclass(slots=True, eq=False)
class Declared:
    """One declaration. ``key`` is what the catalog knows it by; ``valid`` is False once it cannot be
    built."""

    kind: Kind
    name: str
    key: str
    decl: ast.Decl
    file: SourceFile
    namespace: str
    marks: Marks
    edges: list[Edge] = field(default_factory=list)
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    switched_off: bool = False
    """Whether something it stands on is disabled: the base of a provider."""

    @property
    def span(self) -> ast.Span:
        """Where its name stands."""
        return self.decl.name_span if self.decl.name_span.line else self.decl.span

    @property
    def space(self) -> Space:
        """The space of its name."""
        return SPACES[self.kind]

    @property
    def role(self) -> str:
        """Its kind, with the two forms of a policy told apart."""
        if isinstance(self.decl, ast.PolicyDecl):
            decides = self.decl.returns is not None or self.decl.body is not None
            return "decision policy" if decides else "routing policy"
        return self.kind

    @property
    def layer(self) -> int:
        """The layer of its role."""
        return LAYERS[self.role]

    @property
    def enabled(self) -> bool:
        """Whether it is registered (spec "Annotations", row ``@enabled``)."""
        if self.switched_off or self.marks.has("disabled"):
            return False
        return self.kind not in _ON_BY_REQUEST or self.marks.has("enabled")

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.role} {self.name}"

    def scope(self) -> Scope:
        """What the names in it resolved to."""
        spaces = ("concepts", "predicates", "calls", "shapes", "prompts", "providers", "policies")
        return Scope(**{space: dict(self.names.get(space, {})) for space in spaces})


class Tree:
    """All declarations, by space and name, by file and by namespace."""

    def __init__(self, files: Iterable[SourceFile], broken_texts: Iterable[str]) -> None:
        self.files = tuple(files)
        self.declared: list[Declared] = []
        self._by_name: dict[tuple[Space, str], list[Declared]] = {}
        self._anywhere: dict[str, list[Declared]] = {}
        self._concepts: dict[str, Declared] = {}
        self.lost = frozenset(
            name for text in broken_texts for match in _LOOKS_DECLARED.finditer(text) for name in match.groups() if name
        )
        """Names that files with syntax errors seem to declare: not finding those is no second problem."""

    def add(self, declared: Declared) -> None:
        """Register a declaration."""
        self.declared.append(declared)
        self._enter(declared, declared.name)
        if declared.kind == "concept":
            self._concepts.setdefault(declared.key, declared)

    def alias(self, declared: Declared, name: str) -> None:
        """Make a further name mean a declaration."""
        self._enter(declared, name)

    def _enter(self, declared: Declared, name: str) -> None:
        self._by_name.setdefault((declared.space, name), []).append(declared)
        self._anywhere.setdefault(name, []).append(declared)

    def named(self, space: Space, name: str) -> list[Declared]:
        """All declarations of a name in a space."""
        return self._by_name.get((space, name), [])

    def anywhere(self, name: str) -> list[Declared]:
        """All declarations of a name in any space."""
        return self._anywhere.get(name, [])

    def concept(self, key: str) -> Declared | None:
        """The concept of an id."""
        return self._concepts.get(key)

    @property
    def concept_ids(self) -> list[str]:
        """Every concept id, in source order."""
        return list(self._concepts)

    def names(self, space: Space) -> set[str]:
        """All names of a space."""
        return {name for known, name in self._by_name if known == space}

    def of_kind(self, kind: Kind) -> list[Declared]:
        """All declarations of a kind, in source order."""
        return [declared for declared in self.declared if declared.kind == kind]
