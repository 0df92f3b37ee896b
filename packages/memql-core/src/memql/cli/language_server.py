"""``memql lsp``: diagnostics and formatting of .memql sources in an editor.

A file belongs to the tree that its namespace directory stands in: ``<root>/<namespace>/<file>``. Buffers that
are open count instead of the files on disk, and the whole tree is checked, so that a change shows what it
breaks elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from memql.errors import Code, MemqlError

try:
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer
except ModuleNotFoundError as error:
    raise MemqlError(
        Code.FAILED_PRECONDITION, "the language server is not installed; install it with: pip install memql-core[lsp]"
    ) from error

from memql.config import load_settings
from memql.lang.ast import Span
from memql.lang.diagnostics import Finding
from memql.lang.formatter import format_file
from memql.lang.loader import load_tree, packaged_sources, read_directory
from memql.lang.sources import Sources

__all__ = ["build_server", "serve"]

_DEBOUNCE = 0.15
"""Seconds without a keystroke before the tree is checked."""
_SUFFIX = ".memql"
_SEVERITY = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}


def serve() -> None:
    """Serve on standard input and output until the editor says exit."""
    build_server().start_io()


class _Trees:
    """The trees that open files belong to, and what was published for each."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._packaged = packaged_sources()
        self._published: dict[Path, set[str]] = {}
        self._changes: dict[Path, int] = {}

    async def check_soon(self, uri: str) -> None:
        """Check the tree of a file once its author pauses."""
        root = tree_root(path_of(uri))
        turn = self._changes[root] = self._changes.get(root, 0) + 1
        await asyncio.sleep(_DEBOUNCE)
        if self._changes[root] == turn:
            await self.check(root)

    async def check(self, root: Path) -> None:
        """Check a tree and publish what was found, file by file."""
        buffers = {
            document.path: document.source
            for document in self._server.workspace.text_documents.values()
            if document.path.endswith(_SUFFIX)
        }
        try:
            sources, findings = await asyncio.to_thread(check_tree, self._packaged, root, buffers)
        except MemqlError as error:
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Error, str(error)))
            return
        self._publish(root, sources, findings)

    def _publish(self, root: Path, sources: Sources, findings: Iterable[Finding]) -> None:
        by_file: dict[str, list[types.Diagnostic]] = {name: [] for name in self._published.get(root, ())}
        for finding in findings:
            by_file.setdefault(finding.span.file, []).append(_diagnostic(finding, sources))
        for name, diagnostics in by_file.items():
            self._server.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(uri=(root / name).as_uri(), diagnostics=diagnostics)
            )
        self._published[root] = {name for name, diagnostics in by_file.items() if diagnostics}


def build_server() -> LanguageServer:
    """The server with its features; not started yet."""
    server = LanguageServer("memql", metadata.version("memql-core"))
    trees: list[_Trees] = []

    def known() -> _Trees:
        if not trees:
            trees.append(_Trees(server))
        return trees[0]

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: types.DidOpenTextDocumentParams) -> None:
        await known().check(tree_root(path_of(params.text_document.uri)))

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        await known().check_soon(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def saved(params: types.DidSaveTextDocumentParams) -> None:
        await known().check_soon(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        source = server.workspace.get_text_document(params.text_document.uri).source
        return _format_edits(source)

    return server


def path_of(uri: str) -> Path:
    """The path of a ``file:`` URI."""
    return Path(unquote(urlsplit(uri).path))


def tree_root(path: Path) -> Path:
    """The root of the tree that a file belongs to: the overlay of the settings that holds it, else two levels
    up."""
    for overlay in load_settings().dsl_path:
        if path.is_relative_to(overlay.absolute()):
            return overlay.absolute()
    return path.parent.parent


def check_tree(packaged: Sources, root: Path, buffers: Mapping[str, str]) -> tuple[Sources, list[Finding]]:
    """Check a directory laid over the packaged tree, open buffers first; only findings of its own files come
    back.

    :param buffers: texts by absolute path.
    """
    overlay = read_directory(root)
    files = dict(overlay.files)
    for path, text in buffers.items():
        if Path(path).is_relative_to(root):
            files[Path(path).relative_to(root).as_posix()] = text
    sources = packaged.over(Sources(files, overlay.templates, overlay.roots))
    return sources, [finding for finding in load_tree(sources).findings if finding.span.file in files]


def _format_edits(source: str) -> list[types.TextEdit] | None:
    try:
        formatted = format_file(source)
    except MemqlError:
        # The diagnostics say what is wrong with it; a text that does not parse stays as it is.
        return None
    if formatted == source:
        return []
    end = types.Position(source.count("\n") + 1, 0)
    return [types.TextEdit(types.Range(types.Position(0, 0), end), formatted)]


def _diagnostic(finding: Finding, sources: Sources) -> types.Diagnostic:
    lines = (sources.text(finding.span.file) or "").split("\n")
    return types.Diagnostic(
        range=_range(finding.span, lines),
        message=finding.message,
        severity=_SEVERITY[finding.severity],
        code=finding.code,
        source="memql",
    )


def _range(span: Span, lines: list[str]) -> types.Range:
    start = _position(span.line, span.column, lines)
    end = _position(span.end_line, span.end_column, lines)
    return types.Range(start, max(start, end))


def _position(line: int, column: int, lines: list[str]) -> types.Position:
    """From characters counted from 1 to the protocol's UTF-16 units counted from 0."""
    text = lines[line - 1] if 1 <= line <= len(lines) else ""
    return types.Position(max(line - 1, 0), len(text[: column - 1].encode("utf-16-le")) // 2)
