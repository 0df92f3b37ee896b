"""Which automations this node can run: those whose builtins all have an executor here.

Roles bring executors. What an automation may call is read from the tree: through its steps, the logic they call and the
automations they contain. An ``@async`` automation is a run of its own and may run elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from memql.automations.compiled import CompiledAutomation
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Builtin, Catalog, Logic, Scope
from memql.lang.checker.walk import walk
from memql.lang.functions import FUNCTIONS

__all__ = ["Placement", "executors_of", "place"]

_Part: TypeAlias = CompiledAutomation | Logic | Builtin


@dataclass(frozen=True, slots=True)
class Placement:
    """``runnable`` are the automations of a tree that this node can run; ``missing`` says of the others which executors
    they need that are not here. ``needs`` has the executors of all."""

    runnable: Mapping[str, CompiledAutomation] = field(default_factory=dict)
    missing: Mapping[str, frozenset[str]] = field(default_factory=dict)
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def require(self, name: str) -> None:
        """Refuse to run what cannot run here.

        :raises MemqlError: ``UNAVAILABLE``, with the executors that are missing.
        """
        if missing := self.missing.get(name):
            listed = ", ".join(map(repr, sorted(missing)))
            raise MemqlError(
                Code.UNAVAILABLE,
                f"automation {name} needs the executor {listed}, which nothing on this node provides; run it on a node "
                "of a role that does",
                details={"executors": sorted(missing)},
                context=name,
            )


def place(tree: Mapping[str, CompiledAutomation], catalog: Catalog, executors: Collection[str]) -> Placement:
    """Say which automations of a tree run where these executors are."""
    needs = {name: executors_of(compiled, tree, catalog) for name, compiled in tree.items()}
    missing = {name: lacking for name, needed in needs.items() if (lacking := needed.difference(executors))}
    return Placement({name: one for name, one in tree.items() if name not in missing}, missing, needs)


def executors_of(
    compiled: CompiledAutomation, tree: Mapping[str, CompiledAutomation], catalog: Catalog
) -> frozenset[str]:
    """The executors that a run of an automation may reach."""
    found: set[str] = set()
    seen: set[int] = set()
    pending: list[_Part] = [compiled]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Builtin):
            found.add(part.executor)
        elif isinstance(part, Logic):
            pending.extend(_called(part.body, part.scope, catalog))
        else:
            pending.extend(_contained(part, tree, catalog))
    return frozenset(found)


def _contained(
    compiled: CompiledAutomation, tree: Mapping[str, CompiledAutomation], catalog: Catalog
) -> Iterator[_Part]:
    """What the steps of an automation run as a part of it."""
    for step in compiled.steps:
        if step.kind == "logic":
            yield catalog.logics[step.target]
        elif step.kind == "builtin":
            yield catalog.builtins[step.target]
        elif step.kind == "automation" and (nested := tree.get(step.target)) and not nested.automation.run_async:
            yield nested
    for written in compiled.automation.steps:
        yield from _called((written.test, written.action.argument), compiled.automation.scope, catalog)


def _called(node: object, scope: Scope, catalog: Catalog) -> Iterator[_Part]:
    """The logic and builtins that stand as calls in a piece of syntax."""
    for part in walk(node):
        if isinstance(part, ast.Call) and isinstance(part.callee, ast.Name) and part.callee.name not in FUNCTIONS:
            name = part.callee.name
            target = catalog.callable(scope.calls.get(name, name))
            if isinstance(target, Logic | Builtin):
                yield target
