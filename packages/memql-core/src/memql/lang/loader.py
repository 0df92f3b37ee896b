"""Reading trees from disk: the packaged tree, and directories laid over it (spec "Tree and override").

The only module of the language that reads files; what it returns goes to the pure :func:`load_tree`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import memql.dsl
from memql.errors import Code, MemqlError
from memql.lang.checker import Loaded, load_tree
from memql.lang.sources import Sources

__all__ = ["Loaded", "Sources", "load_tree", "overlay_roots", "packaged_sources", "read_directory", "read_sources"]

SUFFIX: Final = ".memql"
MAX_FILE_BYTES: Final = 4 << 20
MAX_TREE_BYTES: Final = 64 << 20
_TEMPLATE_SUFFIXES: Final = (".tmpl", ".md", ".txt")


def packaged_sources() -> Sources:
    """The tree that ships in the package."""
    return read_directory(Path(next(iter(memql.dsl.__path__))))


def overlay_roots(setting: str) -> tuple[Path, ...]:
    """The directories of ``MEMQL_DSL_PATH``: one, or several joined like a search path; later ones lie on top."""
    return tuple(Path(part) for part in setting.split(os.pathsep) if part.strip())


def read_sources(overlays: Iterable[Path] = ()) -> Sources:
    """The packaged tree with directories laid over it, in order.

    :raises MemqlError: ``CONFIG_INVALID`` when a root is no readable directory, or a file cannot be read, is not UTF-8
        or is too large.
    """
    sources = packaged_sources()
    for root in overlays:
        sources = sources.over(read_directory(root))
    return sources


def read_directory(root: Path) -> Sources:
    """Every source below one directory. Names that start with ``_`` or ``.`` are skipped, directories too.

    :raises MemqlError: ``CONFIG_INVALID``, as :func:`read_sources`.
    """
    if not root.is_dir():
        raise _refused(root, "is no directory; MEMQL_DSL_PATH names the directory that holds the namespaces")
    files: dict[str, str] = {}
    templates: dict[str, str] = {}
    budget = MAX_TREE_BYTES
    for path in _walk(root, frozenset()):
        kind = files if path.suffix == SUFFIX else templates if path.suffix in _TEMPLATE_SUFFIXES else None
        if kind is None:
            continue
        text = _read(path)
        budget -= len(text)
        if budget < 0:
            raise _refused(root, f"holds more than {MAX_TREE_BYTES >> 20} MiB of sources")
        kind[path.relative_to(root).as_posix()] = text
    return Sources(files, templates, {path: str(root) for path in (*files, *templates)})


def _walk(directory: Path, above: frozenset[Path]) -> Iterator[Path]:
    try:
        real = directory.resolve(strict=True)
        entries = sorted(directory.iterdir())
    except (OSError, RuntimeError) as error:
        raise _refused(directory, f"cannot be listed ({_reason(error)})") from error
    if real in above:
        raise _refused(directory, "is a link to a directory above it; remove the link")
    for entry in entries:
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        else:
            yield entry


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _refused(path, f"is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
        data = path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be read ({_reason(error)})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(path, f"is not UTF-8 (byte {error.start}, line {line}); save it as UTF-8") from error


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _refused(path: Path, problem: str) -> MemqlError:
    return MemqlError(Code.CONFIG_INVALID, f"{path} {problem}", context=str(path))
