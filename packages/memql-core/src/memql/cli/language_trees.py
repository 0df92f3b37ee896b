"""The trees that open files belong to: read once, checked again after changes.

A file belongs to the tree that its namespace directory stands in: ``<root>/<namespace>/<file>``. Buffers that
are open count instead of the files on disk, and the whole tree is checked, so that a change shows what it
breaks elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from memql.config import load_settings
from memql.lang.catalog import Catalog
from memql.lang.diagnostics import Finding
from memql.lang.loader import load_tree, packaged_sources, read_directory
from memql.lang.sources import Sources

__all__ = ["SUFFIX", "CheckedTree", "Trees", "is_file", "path_of", "tree_root"]

SUFFIX: Final = ".memql"


@dataclass(frozen=True, slots=True)
class CheckedTree:
    """What a check came to. ``catalog`` is what could be built, errors or not."""

    catalog: Catalog
    findings: tuple[Finding, ...]


class Trees:
    """The trees by their root; None is the packaged tree alone, which raw requests outside any tree see."""

    def __init__(self) -> None:
        self._checked: dict[Path | None, CheckedTree] = {}

    @cached_property
    def _packaged(self) -> Sources:
        return packaged_sources()

    def catalog(self, root: Path | None, buffers: Mapping[str, str]) -> Catalog:
        """The catalog of the last check; of a first one when there was none.

        :raises MemqlError: ``CONFIG_INVALID`` when the directory cannot be read.
        """
        known = self._checked.get(root)
        return (known or self.check(root, buffers)).catalog

    def check(self, root: Path | None, buffers: Mapping[str, str]) -> CheckedTree:
        """Check a directory laid over the packaged tree, open buffers first; findings are those of its own
        files.

        :param buffers: texts by absolute path.
        :raises MemqlError: ``CONFIG_INVALID`` when the directory cannot be read.
        """
        overlay = read_directory(root) if root is not None else Sources({})
        files = dict(overlay.files)
        for path, text in buffers.items():
            if root is not None and path.endswith(SUFFIX) and Path(path).is_relative_to(root):
                files[Path(path).relative_to(root).as_posix()] = text
        loaded = load_tree(self._packaged.over(Sources(files, overlay.templates, overlay.roots)))
        findings = tuple(finding for finding in loaded.findings if finding.span.file in files)
        checked = self._checked[root] = CheckedTree(loaded.partial, findings)
        return checked


def path_of(uri: str) -> Path:
    """The path of a ``file:`` URI."""
    return Path(unquote(urlsplit(uri).path))


def is_file(uri: str) -> bool:
    """Whether a document is a file of declarations; any other is a raw request."""
    return uri.endswith(SUFFIX)


def tree_root(uri: str, overlays: Iterable[Path] | None = None) -> Path | None:
    """The root of the tree that a document belongs to: the overlay of the settings that holds it, else two
    levels up.

    A raw request belongs to the last overlay, or to none.
    """
    known = [path.absolute() for path in (load_settings().dsl_path if overlays is None else overlays)]
    if not is_file(uri):
        return known[-1] if known else None
    path = path_of(uri)
    return next((root for root in known if path.is_relative_to(root)), path.parent.parent)
