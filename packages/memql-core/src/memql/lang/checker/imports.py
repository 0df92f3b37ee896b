"""The ``use`` lines of files: modules, symbols, aliases (spec "Resolution and layers")."""

from __future__ import annotations

from typing import TypeAlias

from memql.lang import ast
from memql.lang.catalog import Kind
from memql.lang.checker.report import Report, did_you_mean, listing
from memql.lang.checker.tree import MODULES, Declared, Import, SourceFile, Space, Tree
from memql.lang.functions import ENGINE_NAMES

__all__ = ["bind_imports", "report_unused"]

Modules: TypeAlias = dict[tuple[str, Kind], dict[str, list[Declared]]]


def bind_imports(tree: Tree, report: Report) -> None:
    """Resolve the imports of every file."""
    modules = _modules(tree)
    own: dict[SourceFile, set[tuple[str, Space]]] = {}
    for declared in tree.declared:
        own.setdefault(declared.file, set()).add((declared.name, declared.space))
    for file in tree.files:
        for use in file.ast.uses:
            _bind_use(tree, modules, file, use, report)
        _refuse_conflicts(file, own.get(file, set()), report)


def report_unused(tree: Tree, report: Report) -> None:
    """Warn about imports nothing resolved through; call it last."""
    for file in tree.files:
        for binding in file.imports.values():
            if not binding.used:
                report.warn("unused-import", binding.span, f"{binding.local!r} is never used; remove it")


def _modules(tree: Tree) -> Modules:
    """What every module holds, by the directory's name and by the namespace's when that is another."""
    modules: Modules = {}
    for declared in tree.declared:
        for namespace in {declared.file.directory, declared.namespace.replace(":", ".")}:
            modules.setdefault((namespace, declared.kind), {}).setdefault(declared.name, []).append(declared)
    return modules


def _bind_use(tree: Tree, modules: Modules, file: SourceFile, use: ast.Use, report: Report) -> None:
    path = ".".join(use.module)
    namespace, _, plural = path.rpartition(".")
    kind = MODULES.get(plural)
    module = modules.get((namespace, kind)) if kind else None
    if module is None:
        _unknown_module(tree, modules, use, path, report)
    for symbol in use.symbols:
        local = symbol.alias or symbol.name
        targets = tuple(module.get(symbol.name, ())) if module else ()
        if module is not None and not targets and symbol.name not in tree.lost:
            hint = did_you_mean(symbol.name, module) or f"; it has: {listing(sorted(module))}"
            report.error("unknown-import", symbol.span, f"{path} has no {symbol.name!r}{hint}")
        if symbol.alias in ENGINE_NAMES:
            report.error(
                "reserved-name", symbol.span, f"{symbol.alias!r} is a name of the engine; choose another alias"
            )
        if local in file.imports:
            message = f"{local!r} is imported twice; give one an alias: {symbol.name} as .."
            report.error("import-conflict", symbol.span, message)
            continue
        file.imports[local] = Import(local, symbol.name, targets, symbol.span, used=not targets)


def _unknown_module(tree: Tree, modules: Modules, use: ast.Use, path: str, report: Report) -> None:
    if any(symbol.name in tree.lost for symbol in use.symbols):
        return
    plurals = {kind: plural for plural, kind in MODULES.items()}
    known = {f"{namespace}.{plurals[kind]}" for namespace, kind in modules}
    hint = did_you_mean(path, known) or "; a module is <namespace>.<kind>, for example ops.concepts"
    report.error("unknown-import", use.span, f"there is no module {path}{hint}")


def _refuse_conflicts(file: SourceFile, own: set[tuple[str, Space]], report: Report) -> None:
    for binding in file.imports.values():
        if any((binding.local, target.space) in own and target.file is not file for target in binding.targets):
            message = (
                f"{binding.local!r} is declared in this file too; import it under an alias: {binding.symbol} as .."
            )
            report.error("import-conflict", binding.span, message)
