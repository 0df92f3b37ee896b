"""The first pass: files to declarations with their names and annotations (spec "Tree and override")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from memql.lang import ast
from memql.lang.checker.marks import Marks, read_marks
from memql.lang.checker.report import Report
from memql.lang.checker.tree import KINDS, SPACES, Declared, SourceFile, Tree
from memql.lang.functions import DIRECTIVES, ENGINE_NAMES, FUNCTIONS, RELATION_FUNCTIONS
from memql.lang.parser import parse_file

__all__ = ["declare", "parse_sources", "version_of", "warn_naming"]

_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_]*(?::[a-z][a-z0-9_]*)*")
_CONCEPT_NAME: Final = re.compile(r"[a-z][A-Za-z0-9]*")
_VERSION: Final = re.compile(r"[1-9][0-9]*\.[0-9]+\.[0-9]+")
_KEYWORDS: Final = frozenset(KINDS.values())
_FILE_DEFAULTS: Final = ("version", "namespace")
_PREFIXED: Final = frozenset({"query", "mutation", "spec", "trait", "logic"})


def parse_sources(texts: Mapping[str, str], report: Report) -> tuple[dict[str, ast.File], list[str]]:
    """Parse every file: the trees by path, and the texts of files that have syntax errors."""
    parsed: dict[str, ast.File] = {}
    broken: list[str] = []
    for path in sorted(texts):
        result = parse_file(texts[path], path)
        report.extend(result.findings)
        if any(finding.severity == "error" for finding in result.findings):
            broken.append(texts[path])
        parsed[path] = result.file
    return parsed, broken


def declare(parsed: Mapping[str, ast.File], broken: Iterable[str], report: Report) -> Tree:
    """Register every declaration; names, versions and namespaces that are wrong are reported."""
    files = {path: _source_file(path, file, report) for path, file in parsed.items()}
    tree = Tree(files.values(), broken)
    for source in files.values():
        for decl in source.ast.decls:
            tree.add(_declaration(decl, source, report))
    for declared in tree.of_kind("builtin"):
        for alias in declared.marks.all("alias"):
            tree.alias(declared, alias.text())
    _refuse_duplicates(tree, report)
    return tree


def _source_file(path: str, file: ast.File, report: Report) -> SourceFile:
    directory = path.partition("/")[0] if "/" in path else ""
    for annotation in file.annotations:
        if annotation.name not in _FILE_DEFAULTS:
            report.error(
                "unknown-annotation", annotation.span,
                f"@{annotation.name} is no default of a file; only @version and @namespace stand before the first use",
            )  # fmt: skip
    defaults = read_marks(report, "concept", [one for one in file.annotations if one.name in _FILE_DEFAULTS])
    namespace = defaults.text("namespace") or directory
    span = ast.Span(path, 1, 1, 1, 1, 0, 0)
    if not namespace:
        report.error(
            "bad-namespace", span, "a file outside a namespace's directory needs @namespace(..) before its first use"
        )
    elif not _NAMESPACE.fullmatch(namespace):
        mark = defaults.get("namespace")
        _bad_namespace(report, namespace, mark.span if mark else span)
    return SourceFile(path, directory, namespace, file, defaults)


def _bad_namespace(report: Report, namespace: str, span: ast.Span) -> None:
    report.error(
        "bad-namespace", span, f"{namespace!r} is no namespace: lower-case words joined by colons, such as ops:fleet"
    )


def _declaration(decl: ast.Decl, file: SourceFile, report: Report) -> Declared:
    kind = KINDS[type(decl)]
    marks = read_marks(report, kind, _own_annotations(decl))
    namespace = file.namespace
    if marks.has("namespace"):
        namespace = marks.text("namespace")
        mark = marks.get("namespace")
        if mark and not _NAMESPACE.fullmatch(namespace):
            _bad_namespace(report, namespace, mark.span)
    key = decl.name
    if isinstance(decl, ast.ConceptDecl):
        key = f"v{version_of(marks, file).partition('.')[0]}:{namespace}:{decl.name}"
    declared = Declared(kind, decl.name, key, decl, file, namespace, marks)
    _check_name(declared, report)
    return declared


def _own_annotations(decl: ast.Decl) -> tuple[ast.Annotation, ...]:
    """The annotations of the declaration itself; relationships are read with the fields."""
    if not isinstance(decl, ast.ConceptDecl):
        return decl.annotations
    inside = (one for one in decl.body_annotations if one.name != "relationship")
    return (*(one for one in decl.annotations if one.name != "relationship"), *inside)


def version_of(marks: Marks, file: SourceFile) -> str:
    """The version of a concept: its own, the file's, else 1.0.0; a malformed one counts as 1.0.0."""
    version = marks.text("version") or file.defaults.text("version") or "1.0.0"
    return version if _VERSION.fullmatch(version) else "1.0.0"


def _check_name(declared: Declared, report: Report) -> None:
    name, span = declared.name, declared.span
    if name in ENGINE_NAMES or name in _KEYWORDS:
        report.error("reserved-name", span, f"{name!r} is a word of the language; choose another name")
    elif declared.space == "calls" and (name in FUNCTIONS or name in DIRECTIVES or name in RELATION_FUNCTIONS):
        report.error("reserved-name", span, f"{name!r} is a function of the language; choose another name")
    elif declared.kind == "concept" and not _CONCEPT_NAME.fullmatch(name):
        report.error("bad-concept-name", span, f"{name!r}: a concept's name is lower camel case, such as serviceVisit")
    if declared.kind == "concept":
        _check_version(declared, report)


def _check_version(declared: Declared, report: Report) -> None:
    for marks in (declared.marks, declared.file.defaults):
        mark = marks.get("version")
        if mark is not None:
            if not _VERSION.fullmatch(marks.text("version")):
                report.error(
                    "bad-version",
                    mark.span,
                    f"{marks.text('version')!r} is no version: three numbers, the first at least 1",
                )
            return


def warn_naming(declared: Declared, is_context: bool, report: Report) -> None:
    """Warn about a name without its kind in front; context specs are free."""
    if declared.kind in _PREFIXED and not is_context and not declared.name.startswith(declared.kind):
        proper = declared.kind + declared.name[:1].upper() + declared.name[1:]
        report.warn("naming", declared.span, f"a {declared.kind}'s name begins with {declared.kind!r}: {proper}")


def _refuse_duplicates(tree: Tree, report: Report) -> None:
    first: dict[tuple[str, str], Declared] = {}
    for declared in tree.declared:
        names = [declared.key, *(alias.text() for alias in declared.marks.all("alias"))]
        for name in names:
            other = first.setdefault((SPACES[declared.kind], name), declared)
            if other is not declared:
                report.error(
                    "duplicate-name", declared.span,
                    f"{name} is already a {other.role} in {other.file.path}:{other.span.line}; rename one",
                )  # fmt: skip
