"""What the passes of one check share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from memql.lang import ast
from memql.lang.catalog import Annotations, ArgSpec, Concept
from memql.lang.checker.names import Names
from memql.lang.checker.report import Report
from memql.lang.checker.tree import Declared, Tree

__all__ = ["Check", "PredicateFacts", "RowPath"]


@dataclass(frozen=True, slots=True)
class RowPath:
    """One path of row data, as a predicate or shape reads it."""

    segments: tuple[str | int, ...]
    span: ast.Span


@dataclass(slots=True)
class PredicateFacts:
    """What a spec or trait reads, the predicates it ``names`` included; ``paths`` are only its own."""

    row: bool = False
    actor: bool = False
    sound: bool = True
    paths: list[RowPath] = field(default_factory=list)
    names: list[Declared] = field(default_factory=list)

    def absorb(self, other: PredicateFacts) -> bool:
        """Take over what a named predicate reads; whether that was anything new."""
        before = (self.row, self.actor, self.sound)
        self.row |= other.row
        self.actor |= other.actor
        self.sound &= other.sound
        return before != (self.row, self.actor, self.sound)

    @property
    def is_mixed(self) -> bool:
        """Whether it reads both rows and the actor."""
        return self.row and self.actor

    @property
    def is_context(self) -> bool:
        """Whether it refers only to the actor."""
        return self.actor and not self.row


@dataclass(slots=True)
class Check:
    """One run of the checker: its input, its findings, and what earlier passes worked out."""

    tree: Tree
    names: Names
    report: Report
    templates: Mapping[str, str]
    config_keys: Collection[str]
    executors: Collection[str] | None
    concepts: dict[str, Concept] = field(default_factory=dict)
    annotations: dict[Declared, Annotations] = field(default_factory=dict)
    args: dict[Declared, tuple[ArgSpec, ...] | None] = field(default_factory=dict)
    bound: dict[Declared, Concept] = field(default_factory=dict)
    """The concept in the signature of a query, mutation, shape or seed."""
    predicates: dict[Declared, PredicateFacts] = field(default_factory=dict)
    by_key: dict[tuple[str, str], Declared] = field(default_factory=dict)

    def declared(self, space: str, key: str) -> Declared | None:
        """The declaration behind a catalog key."""
        return self.by_key.get((space, key))

    def concept(self, declared: Declared | None) -> Concept | None:
        """The built concept of a declaration."""
        return self.concepts.get(declared.key) if declared is not None else None

    def args_of(self, declared: Declared) -> Mapping[str, ArgSpec] | None:
        """The declared arguments by name; None for an automation without a block of them."""
        args = self.args.get(declared)
        return None if args is None else {arg.name: arg for arg in args}
