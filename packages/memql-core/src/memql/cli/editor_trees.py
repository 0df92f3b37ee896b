"""The trees that an editor's open files belong to, checked as their author types.

A file belongs to the tree that its namespace directory stands in: ``<root>/<namespace>/<file>``. Buffers that
are open count instead of the files on disk, and the whole tree is checked, so that a change shows what it
breaks elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from memql.cli.editor_protocol import diagnostic
from memql.config import load_settings
from memql.errors import MemqlError
from memql.lang.catalog import Catalog
from memql.lang.diagnostics import Finding
from memql.lang.loader import Loaded, load_tree, packaged_sources, read_directory
from memql.lang.sources import Sources

__all__ = ["EditorTrees", "tree_root"]

_DEBOUNCE = 0.15
"""Seconds without a keystroke before the tree is checked."""
_SUFFIX = ".memql"


class EditorTrees:
    """What is known about each tree: the catalog it last loaded with, its sources, and what was published."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._packaged = packaged_sources()
        self._loaded: dict[Path, Catalog] = {}
        self._sources: dict[Path, Sources] = {}
        self._published: dict[Path, set[str]] = {}
        self._changes: dict[Path, int] = {}
        self._fallback: Catalog | None = None

    def catalog(self, path: Path) -> Catalog:
        """The catalog that a file's tree last loaded with; the packaged one while it never did."""
        known = self._loaded.get(tree_root(path))
        if known is not None:
            return known
        if self._fallback is None:
            self._fallback = load_tree(self._packaged).require()
        return self._fallback

    def locate(self, path: Path, name: str) -> tuple[Path, str]:
        """Where a file of ``path``'s tree lies, and its text."""
        root = tree_root(path)
        sources = self._sources.get(root, self._packaged)
        return Path(sources.roots.get(name, root)) / name, sources.text(name) or ""

    async def check_soon(self, path: Path) -> None:
        """Check the tree of a file once its author pauses."""
        root = tree_root(path)
        turn = self._changes[root] = self._changes.get(root, 0) + 1
        await asyncio.sleep(_DEBOUNCE)
        if self._changes[root] == turn:
            await self.check(path)

    async def check(self, path: Path) -> None:
        """Check the tree of a file now and publish what was found, file by file."""
        root = tree_root(path)
        buffers = {
            document.path: document.source
            for document in self._server.workspace.text_documents.values()
            if document.path.endswith(_SUFFIX)
        }
        try:
            sources, own, loaded = await asyncio.to_thread(_check, self._packaged, root, buffers)
        except MemqlError as error:
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Error, str(error)))
            return
        self._sources[root] = sources
        if loaded.catalog is not None:
            self._loaded[root] = loaded.catalog
        self._publish(root, sources, [finding for finding in loaded.findings if finding.span.file in own])

    def _publish(self, root: Path, sources: Sources, findings: Iterable[Finding]) -> None:
        by_file: dict[str, list[types.Diagnostic]] = {name: [] for name in self._published.get(root, ())}
        for finding in findings:
            text = sources.text(finding.span.file) or ""
            by_file.setdefault(finding.span.file, []).append(diagnostic(finding, text))
        for name, diagnostics in by_file.items():
            self._server.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(uri=(root / name).as_uri(), diagnostics=diagnostics)
            )
        self._published[root] = {name for name, diagnostics in by_file.items() if diagnostics}


def tree_root(path: Path) -> Path:
    """The root of the tree that a file belongs to: the overlay of the settings that holds it, else two levels
    up."""
    for overlay in load_settings().dsl_path:
        if path.is_relative_to(overlay.absolute()):
            return overlay.absolute()
    return path.parent.parent


def _check(packaged: Sources, root: Path, buffers: Mapping[str, str]) -> tuple[Sources, set[str], Loaded]:
    """Load a directory laid over the packaged tree, open buffers first; the names in between are its own
    files."""
    overlay = read_directory(root)
    files = dict(overlay.files)
    for path, text in buffers.items():
        if Path(path).is_relative_to(root):
            files[Path(path).relative_to(root).as_posix()] = text
    sources = packaged.over(Sources(files, overlay.templates, overlay.roots))
    return sources, set(files), load_tree(sources)
