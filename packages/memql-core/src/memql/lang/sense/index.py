"""The declarations of a tree with one text laid over it, found by name, by module and by concept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from memql.lang import ast
from memql.lang.catalog import Catalog, Kind
from memql.lang.checker.declare import declare
from memql.lang.checker.imports import bind_imports
from memql.lang.checker.report import Report
from memql.lang.checker.tree import MODULES, Declared, SourceFile, Space, Tree
from memql.lang.parser import parse_file
from memql.lang.sense.document import SUFFIX, Document

__all__ = ["PLURALS", "Index", "fields_of", "index_of", "member_of", "members_of", "tree_path"]

_SHARED_NAMESPACE: Final = "common"
PLURALS: Final[Mapping[str, str]] = {kind: plural for plural, kind in MODULES.items()}
_BY_PATH: Final = 512
_DEEPEST: Final = 16


@dataclass(frozen=True, eq=False)
class Index:
    """What is declared, disabled and half-written constructs included; ``catalog`` is the tree in force."""

    tree: Tree
    catalog: Catalog

    @cached_property
    def files(self) -> Mapping[str, SourceFile]:
        """The files by path."""
        return {file.path: file for file in self.tree.files}

    def modules(self) -> Iterator[tuple[str, Kind]]:
        """Every namespace, as imports write it, with every kind that it holds; each once, sorted."""
        yield from sorted({(home(declared), declared.kind) for declared in self.tree.declared})

    def module(self, path: str) -> list[Declared]:
        """What ``use <path>.{ .. }`` may import."""
        namespace, _, plural = path.rpartition(".")
        kind = MODULES.get(plural)
        return [one for one in self.tree.declared if one.kind == kind and namespace in _homes(one)]

    def of_kinds(self, *kinds: Kind) -> list[Declared]:
        """All declarations of some kinds."""
        return [declared for declared in self.tree.declared if declared.kind in kinds]

    def concept(self, text: str, path: str = "") -> Declared | None:
        """A concept by id or by the name a file knows it by."""
        if ":" in text:
            return self.tree.concept(text)
        return self.find(text, ("concepts",), path)

    def find(self, name: str, spaces: Iterable[Space], path: str = "") -> Declared | None:
        """What a name most likely means in a file: the nearest declaration of the first space that has one."""
        for space in spaces:
            found = self._near(name, space, path)
            if found is not None:
                return found
        return None

    def _near(self, name: str, space: Space, path: str) -> Declared | None:
        file = self.files.get(path)
        everywhere = self.tree.named(space, name)
        if file is not None:
            for group in (
                (one for one in everywhere if one.file is file),
                (one for one in self._imported(file, name) if one.space == space),
                (one for one in everywhere if {file.namespace, file.directory} & {one.namespace, one.file.directory}),
                (one for one in everywhere if one.namespace == _SHARED_NAMESPACE),
            ):
                if (found := next(group, None)) is not None:
                    return found
        return everywhere[0] if everywhere else None

    def _imported(self, file: SourceFile, name: str) -> Iterable[Declared]:
        binding = file.imports.get(name)
        return binding.targets if binding else ()

    def alias(self, declared: Declared, path: str) -> str:
        """The other name under which a file imports a declaration; empty when it has none there."""
        file = self.files.get(path)
        bindings = file.imports.values() if file is not None else ()
        return next((one.local for one in bindings if one.local != one.symbol and declared in one.targets), "")

    def importable(self, declared: Declared, path: str) -> str:
        """The import that a file lacks to use a declaration; empty when it needs none."""
        file = self.files.get(path)
        if file is None or declared.file.path == path or declared.namespace == _SHARED_NAMESPACE:
            return ""
        if {file.namespace, file.directory} & {declared.namespace, declared.file.directory}:
            return ""
        if any(declared in binding.targets for binding in file.imports.values()):
            return ""
        return f"use {home(declared)}.{PLURALS[declared.kind]}.{{ {declared.name} }}"


def home(declared: Declared) -> str:
    """The namespace of a declaration as imports write it."""
    return declared.file.directory or declared.namespace.replace(":", ".")


def _homes(declared: Declared) -> tuple[str, str]:
    return declared.file.directory, declared.namespace.replace(":", ".")


def tree_path(catalog: Catalog, path: str) -> str:
    """The path in the tree of a file that an editor knows by some path; empty for a raw request.

    A file that the tree does not have stands in the directory it is in: ``/home/me/tree/ops/new.memql`` is
    ``ops/new.memql``.
    """
    parts = path.replace("\\", "/").split("/")
    if not path.endswith(SUFFIX):
        return ""
    for first in range(max(0, len(parts) - _DEEPEST), len(parts)):
        if (known := "/".join(parts[first:])) in catalog.sources.files:
            return known
    return "/".join(part for part in parts[-2:] if part)


def index_of(catalog: Catalog, document: Document) -> Index:
    """The index of a catalog's sources with a file laid over them; a raw request adds nothing."""
    return _index(_Key(catalog), document.text if document.is_file else "", document.path)


class _Key:
    """A catalog that is equal to itself only: catalogs hold dictionaries and have no hash."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.catalog is other.catalog

    def __hash__(self) -> int:
        return id(self.catalog)


@lru_cache(maxsize=4)
def _index(key: _Key, text: str, path: str) -> Index:
    sources = key.catalog.sources
    texts: dict[str, str] = {**sources.files, path: text} if path else dict(sources.files)
    report = Report()
    parsed = {name: _parsed(texts[name], name) for name in sorted(texts)}
    tree = declare(parsed, (), report)
    bind_imports(tree, report)
    return Index(tree, key.catalog)


@lru_cache(maxsize=_BY_PATH)
def _parsed(text: str, path: str) -> ast.File:
    return parse_file(text, path).file


def fields_of(declared: Declared) -> tuple[ast.FieldDecl, ...]:
    """The fields or arguments of a construct; empty when its kind has none."""
    decl: Any = declared.decl
    match decl:
        case ast.ConceptDecl() | ast.BuiltinDecl() | ast.PromptDecl() | ast.ToolDecl():
            return decl.fields
        case ast.LogicDecl() | ast.PolicyDecl():
            return decl.args
        case ast.AutomationDecl():
            return decl.args or ()
        case ast.QueryDecl() | ast.MutationDecl():
            clauses: tuple[ast.Clause, ...] = decl.clauses
            return tuple(field for clause in clauses if isinstance(clause, ast.ArgsClause) for field in clause.fields)
    return ()


def members_of(fields: tuple[ast.FieldDecl, ...], path: Iterable[str]) -> tuple[ast.FieldDecl, ...]:
    """The fields inside the field a path names; of a variant those of all its branches."""
    for segment in path:
        if segment.isdigit():
            continue
        found = [field for field in fields if field.name == segment]
        fields = tuple(inner for field in found for inner in _inside(field))
    return fields


def member_of(fields: tuple[ast.FieldDecl, ...], path: tuple[str, ...]) -> ast.FieldDecl | None:
    """The field a path names, or None."""
    named = [segment for segment in path if not segment.isdigit()]
    if not named:
        return None
    inside = members_of(fields, named[:-1])
    return next((field for field in inside if field.name == named[-1]), None)


def _inside(field: ast.FieldDecl) -> tuple[ast.FieldDecl, ...]:
    inner = field.fields or ()
    if any(annotation.name == "variant" for annotation in field.annotations):
        unique = {one.name: one for branch in inner for one in branch.fields or ()}
        return tuple(unique.values())
    return inner
