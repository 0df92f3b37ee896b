"""Loading a tree: sources to a catalog, or to findings (spec "Names and loading")."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from memql.lang.catalog import Catalog, Construct
from memql.lang.checker.automations import read_automations
from memql.lang.checker.bodies import read_logics
from memql.lang.checker.check import Check
from memql.lang.checker.concepts import finish_concepts, read_concepts, read_relationships
from memql.lang.checker.declare import declare, parse_sources
from memql.lang.checker.evolution import check_evolution
from memql.lang.checker.graph import check_references
from memql.lang.checker.imports import bind_imports, report_unused
from memql.lang.checker.marks import read_common
from memql.lang.checker.models import read_builtins, read_prompts, read_providers
from memql.lang.checker.mutations import read_mutations
from memql.lang.checker.names import Names
from memql.lang.checker.policies import read_policies
from memql.lang.checker.predicates import read_predicates
from memql.lang.checker.queries import read_queries
from memql.lang.checker.report import Report
from memql.lang.checker.seeds import read_seeds
from memql.lang.checker.shapes import read_shapes
from memql.lang.checker.signatures import read_signatures
from memql.lang.checker.tools import read_tools
from memql.lang.diagnostics import Finding, tree_refused
from memql.lang.functions import CONFIG_KEYS
from memql.lang.sources import Sources

__all__ = ["Loaded", "load_tree"]

ConstructT = TypeVar("ConstructT", bound=Construct)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of a check: a catalog when no finding is an error, and every finding by file and position.

    ``partial`` is what could be built in any case: something to show in an editor, nothing to run.
    """

    catalog: Catalog | None
    findings: tuple[Finding, ...]
    partial: Catalog

    def require(self) -> Catalog:
        """The catalog.

        :raises MemqlError: ``TREE_REFUSED`` with all errors in its details.
        """
        if self.catalog is None:
            raise tree_refused(self.findings)
        return self.catalog


def load_tree(
    sources: Sources,
    *,
    rows_exist: Callable[[str], bool] | None = None,
    previous: Catalog | None = None,
    executors: Collection[str] | None = None,
    config_keys: Collection[str] = CONFIG_KEYS,
) -> Loaded:
    """Check a tree and build its catalog. Pure: equal input gives equal output.

    :param rows_exist: whether a concept id has rows; without it a breaking schema change is always an error.
    :param previous: the catalog in force, to compare schemas with.
    :param executors: the registered executor names, when builtins are to be held against them.
    :param config_keys: the allow-list of ``actor.config.<key>``.
    """
    report = Report()
    parsed, broken = parse_sources(sources.files, report)
    tree = declare(parsed, broken, report)
    check = Check(tree, Names(tree, report), report, sources.templates, config_keys, executors)
    catalog = _run(check, sources)
    if previous is not None:
        check_evolution(check, previous, rows_exist)
    findings = report.sorted()
    return Loaded(None if report.errors else catalog, findings, catalog)


def version_of_sources(sources: Sources) -> str:
    """A short hash of all texts: equal trees have equal versions."""
    digest = hashlib.sha256()
    for kind in (sources.files, sources.templates):
        for path in sorted(kind):
            digest.update(f"{len(path)}:{path}{len(kind[path])}:{kind[path]}".encode())
    return digest.hexdigest()[:16]


def _run(check: Check, sources: Sources) -> Catalog:
    for declared in check.tree.declared:
        check.by_key.setdefault((declared.space, declared.key), declared)
        check.annotations[declared] = read_common(check.report, declared.marks, declared.decl.doc, declared.enabled)
    bind_imports(check.tree, check.report)
    read_concepts(check)
    read_relationships(check)
    read_signatures(check)
    shapes = read_shapes(check)
    specs = read_predicates(check)
    finish_concepts(check)
    catalog = Catalog(
        version=version_of_sources(sources),
        concepts=dict(check.concepts),
        shapes=_enabled(shapes),
        specs=_enabled(specs),
        queries=_enabled(read_queries(check)),
        mutations=_enabled(read_mutations(check)),
        providers=_enabled(read_providers(check)),
        policies=_enabled(read_policies(check)),
        prompts=_enabled(read_prompts(check)),
        builtins=_enabled(read_builtins(check)),
        logics=_enabled(read_logics(check)),
        automations=_enabled(read_automations(check)),
        tools=_enabled(read_tools(check)),
        seeds=_enabled(read_seeds(check)),
        disabled=_disabled(check),
        sources=sources,
    )
    check_references(check)
    report_unused(check.tree, check.report)
    return catalog


def _enabled(constructs: Mapping[str, ConstructT]) -> dict[str, ConstructT]:
    return {key: construct for key, construct in constructs.items() if construct.annotations.enabled}


def _disabled(check: Check) -> dict[str, str]:
    return {declared.name: declared.kind for declared in check.tree.declared if not declared.enabled}
