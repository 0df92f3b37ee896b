"""Where an expression stands: which roots, names and functions it may use, and what it turned out to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Concept
from memql.lang.checker.check import Check, RowPath
from memql.lang.checker.static import Value
from memql.lang.checker.tree import Declared

__all__ = ["Checker", "Env", "Facts", "Use"]


@dataclass(frozen=True, slots=True)
class Use:
    """A predicate or query named in a filter over rows of ``concept`` (None when not known)."""

    declared: Declared
    span: ast.Span
    concept: Concept | None
    in_relation: bool


@dataclass(slots=True)
class Facts:
    """What an expression used. ``actor`` leaves out what stands inside relationship functions."""

    row: bool = False
    actor: bool = False
    sound: bool = True
    row_paths: list[RowPath] = field(default_factory=list)
    actor_paths: list[RowPath] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    bindings: set[str] = field(default_factory=set)
    decides: bool = False
    """Whether it calls ``spec()`` or ``policy()``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """The surroundings of an expression.

    ``places`` are the letters of the function table that apply. ``row`` tells whether ``payload`` and the intrinsics of
    a row are roots; ``concept`` types them when it is known. ``roots`` are further root names with their values, and
    ``bindings`` those of a body; ``pending`` are bindings assigned only later. ``guards`` are the arguments that are
    known to be given.
    """

    check: Check
    owner: Declared
    places: str
    facts: Facts = field(default_factory=Facts)
    args: Mapping[str, ArgSpec] | None = field(default_factory=dict)
    row: bool = False
    concept: Concept | None = None
    roots: Mapping[str, Value] = field(default_factory=dict)
    bindings: Mapping[str, Value] | None = None
    pending: frozenset[str] = frozenset()
    steps: frozenset[str] | None = None
    guards: frozenset[str] = frozenset()
    in_relation: bool = False
    builtin_argument: bool = False
    row_functions: bool = False
    """Whether functions may be applied to row data: where the filter runs in process."""

    def error(self, code: str, span: ast.Span, message: str) -> None:
        """Report an error; the expression is then not sound."""
        self.facts.sound = False
        self.check.report.error(code, span, message)

    def at(self, places: str) -> Env:
        """The same surroundings with other functions allowed."""
        return replace(self, places=places)

    def for_builtin(self, is_builtin: bool) -> Env:
        """Inside the arguments of a builtin, the one place for secrets, or of something else."""
        return replace(self, builtin_argument=is_builtin)

    def guarded(self, *names: str) -> Env:
        """The same surroundings where these arguments are given."""
        return replace(self, guards=self.guards.union(names))

    def related(self, concept: Concept | None) -> Env:
        """Inside a relationship function, over rows of another concept when one is named."""
        return replace(self, concept=concept, in_relation=True)

    def use(self, declared: Declared, span: ast.Span) -> None:
        """Note that a filter names a predicate or query."""
        self.facts.uses.append(Use(declared, span, self.concept, self.in_relation))

    @property
    def filtering(self) -> bool:
        """Whether this is a filter."""
        return "F" in self.places


Checker: TypeAlias = Callable[[ast.Expr, Env], Value]
"""Checks an expression where it stands and says what it yields; handed down where modules would need each other."""
