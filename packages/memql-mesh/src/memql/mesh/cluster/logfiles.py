"""The logs of the nodes as files that grow, and now and then begin anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from memql.mesh.cluster.loglines import LogLine, parse_lines
from memql.mesh.cluster.place import Place

__all__ = ["LogFile", "last_lines"]

_BLOCK: Final = 64 * 1024


class LogFile:
    """One node's log, read from its last lines on.

    :param count: how many of its last lines :meth:`read` gives the first time.
    """

    def __init__(self, place: Place, node: str, count: int) -> None:
        self.node = node
        self._path = place.log(node)
        self._count = count
        self._file: int | None = None
        self._position = 0
        self._begun = b""
        self._when = ""

    def read(self) -> list[LogLine]:
        """The lines that were written since the last time; those that are not complete yet come the next time."""
        texts = self._first() if self._file is None else self._more()
        lines = list(parse_lines(self.node, (text.decode(errors="replace") for text in texts), self._when))
        if lines:
            self._when = lines[-1].when
        return lines

    def _first(self) -> list[bytes]:
        status = _status(self._path)
        if status is None:
            return []
        self._file, self._position = status.st_ino, status.st_size
        texts, self._begun = _split(_tail(self._path, status.st_size, self._count))
        return texts[-self._count :] if self._count else []

    def _more(self) -> list[bytes]:
        status = _status(self._path)
        if status is None:
            return []
        if status.st_ino != self._file or status.st_size < self._position:
            self._file, self._position, self._begun = status.st_ino, 0, b""
        if status.st_size == self._position:
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        self._position += len(content)
        texts, self._begun = _split(self._begun + content)
        return texts


def last_lines(files: Sequence[LogFile], count: int, severity: int) -> list[LogLine]:
    """The last lines of all files together, by time, of at least this severity."""
    lines = [line for file in files for line in file.read() if line.severity >= severity]
    # Of one file they are in order already, and stay so: lines of the same moment keep their places.
    lines.sort(key=lambda line: line.when)
    return lines[-count:] if count else []


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _tail(path: Path, size: int, count: int) -> bytes:
    """The end of a file that holds at least so many whole lines, as far as there are so many."""
    content = b""
    with path.open("rb") as file:
        while size > 0 and content.count(b"\n") <= count:
            step = min(_BLOCK, size)
            size -= step
            file.seek(size)
            content = file.read(step) + content
    return content


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, and what has begun of the next."""
    *texts, begun = content.split(b"\n")
    return texts, begun
