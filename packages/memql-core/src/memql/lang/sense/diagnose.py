"""``diagnose``: what is wrong with a text, as a file of the tree or as a raw request."""

from __future__ import annotations

from collections.abc import Iterator

from memql.errors import MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog
from memql.lang.checker import load_tree
from memql.lang.checker.report import did_you_mean
from memql.lang.checker.walk import walk
from memql.lang.diagnostics import Finding
from memql.lang.parser import parse_request
from memql.lang.sense.document import Document, open_document
from memql.lang.sense.index import tree_path
from memql.lang.sense.vocabulary import INTROSPECTION_WORDS
from memql.lang.sources import Sources

__all__ = ["diagnose"]


def diagnose(source: str, path: str, catalog: Catalog) -> tuple[Finding, ...]:
    """The findings in a file when it is laid over the tree in force, or in a raw request. Never raises.

    Parameters are those of :func:`memql.lang.sense.complete`.
    """
    known = tree_path(catalog, path)
    if not known:
        return tuple(_in_request(open_document(source, ""), catalog))
    sources = catalog.sources
    laid = Sources({**sources.files, known: source}, sources.templates, sources.roots)
    return tuple(finding for finding in load_tree(laid).findings if finding.span.file == known)


def _in_request(document: Document, catalog: Catalog) -> Iterator[Finding]:
    if not document.text.strip():
        return
    try:
        request = parse_request(document.text)
    except MemqlError as error:
        yield _syntax(document, error)
        return
    for node in walk((request.operation, *(value for _, value in request.lets))):
        if isinstance(node, ast.ConceptRef) and node.id not in catalog.concepts:
            hint = did_you_mean(node.id, catalog.concepts)
            yield Finding("error", "unresolved", f"no concept has the id {node.id}{hint}", node.span)
        elif isinstance(node, ast.CallRead):
            yield from _call(node.call, catalog)


def _syntax(document: Document, error: MemqlError) -> Finding:
    details = error.details or {}
    start = min(error.position or 0, len(document.text))
    at = document.token_at(start)
    end = document.tokens[at].end if at is not None else start
    prefix = f"line {details.get('line')}, column {details.get('column')}: "
    message = error.message.removeprefix(prefix)
    return Finding("error", str(details.get("reason", "syntax")), message, document.span(start, end))


def _call(call: ast.Call, catalog: Catalog) -> Iterator[Finding]:
    if not isinstance(call.callee, ast.Name) or call.callee.name in INTROSPECTION_WORDS:
        return
    name, span = call.callee.name, call.callee.span
    target = catalog.callable(name)
    if target is None:
        known = (*catalog.queries, *catalog.mutations, *catalog.logics, *catalog.builtins)
        kind = catalog.disabled.get(name)
        problem = f"the {kind} {name} is not enabled" if kind else f"nothing called {name} can be called"
        yield Finding("error", "unknown-function", f"{problem}{'' if kind else did_you_mean(name, known)}", span)
    elif target.annotations.deprecated is not None:
        yield Finding("warning", "deprecated", f"{name} is deprecated: {target.annotations.deprecated}", span)
