"""Imports point down: role to mesh to core, and inside core no line imports a higher one. There is no cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROLES = ("bff", "voice", "cognition", "agent", "planner", "identity", "workbench")

LINES: tuple[tuple[str, ...], ...] = (
    ROLES,
    ("mesh",),
    ("cli", "node", "__main__"),
    ("server", "client"),
    ("wire",),
    ("automations",),
    ("engine",),
    ("events", "graph", "auth"),
    ("lang", "secrets"),
    ("config", "errors", "ids", "dsl"),
)
"""From the top. A part may import its own line's parts only where SIDEWAYS says so."""

SIDEWAYS = {
    ("cli", "node"),
    ("cli", "client"),
    ("__main__", "cli"),
    ("secrets", "errors"),
    ("config", "errors"),
    ("ids", "errors"),
    ("events", "graph"),
    ("auth", "graph"),
}
OWNERS = {
    **{part: "memql-core" for line in LINES[2:] for part in line},
    "mesh": "memql-mesh",
    **{role: f"memql-{role}" for role in ROLES},
}


def _rank(part: str) -> int:
    return next(rank for rank, line in enumerate(LINES) if part in line)


def _modules(root: Path) -> Iterator[tuple[str, str, Path]]:
    for source in sorted(root.glob("packages/*/src/memql")):
        for path in sorted(source.rglob("*.py")):
            relative = path.relative_to(source)
            part = relative.parts[0].removesuffix(".py")
            dotted = ".".join(("memql", *relative.with_suffix("").parts)).removesuffix(".__init__")
            yield part, dotted, path


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every ``memql`` module a file imports, and whether the import runs when the module loads."""
    tree = ast.parse(path.read_text())
    for node, at_load in _walk(tree, at_load=True):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_load) for alias in node.names if alias.name.startswith("memql."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("memql"):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", at_load


def _walk(node: ast.AST, *, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, at_load
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(child)
        yield from _walk(child, at_load=at_load and not lazy)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def test_every_part_has_a_line(root: Path) -> None:
    unplaced = {part for part, _, _ in _modules(root)} - set(OWNERS)
    assert not unplaced, f"give {sorted(unplaced)} a line in this test and in docs/architecture.md"


def test_every_part_lives_in_its_distribution(root: Path) -> None:
    for part, _, path in _modules(root):
        assert path.relative_to(root / "packages").parts[0] == OWNERS[part]


def test_no_import_points_up_or_sideways(root: Path) -> None:
    wrong = []
    for part, dotted, path in _modules(root):
        for target, _ in _imports(path):
            other = target.split(".")[1]
            same_line = other != part and _rank(other) == _rank(part) and (part, other) not in SIDEWAYS
            if _rank(other) < _rank(part) or same_line:
                wrong.append(f"{dotted} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_no_role_imports_another_role(root: Path) -> None:
    wrong = [
        f"{dotted} imports {target}"
        for part, dotted, path in _modules(root)
        if part in ROLES
        for target, _ in _imports(path)
        if target.split(".")[1] in ROLES and target.split(".")[1] != part
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_do_not_import_each_other_in_a_ring(root: Path) -> None:
    known = {dotted for _, dotted, _ in _modules(root)}
    graph: dict[str, set[str]] = {}
    for _, dotted, path in _modules(root):
        edges = {_nearest(target, known) for target, at_load in _imports(path) if at_load}
        graph[dotted] = {edge for edge in edges if edge and edge != dotted and not dotted.startswith(edge + ".")}
    ring = _find_ring(graph)
    assert not ring, " -> ".join(ring)


def _nearest(target: str, known: set[str]) -> str:
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target


def _find_ring(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if ring := visit(target, [*path, module]):
                return ring
        done.add(module)
        return []

    for module in sorted(graph):
        if ring := visit(module, []):
            return ring
    return []


@pytest.mark.parametrize("name", ["memql"])
def test_the_namespace_package_has_no_init(root: Path, name: str) -> None:
    assert not list(root.glob(f"packages/*/src/{name}/__init__.py"))
