"""Files that only their owner may read: keys, credentials, the state."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from memql.errors import Code, MemqlError

__all__ = ["make_private_directory", "read_private", "write_private"]

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> Path:
    """The directory, which nobody else may enter.

    :raises MemqlError: ``CONFIG_INVALID`` when it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            path.chmod(0o700)
    except OSError as error:
        raise MemqlError(Code.CONFIG_INVALID, f"the directory {path} cannot be used: {error.strerror}") from error
    return path


def write_private(path: Path, content: bytes) -> None:
    """Put a whole new content in the place of the old one; whoever reads finds the one or the other."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
    draft.replace(path)


def read_private(path: Path) -> bytes | None:
    """What a file holds; None when there is none.

    :raises MemqlError: ``CONFIG_INVALID`` when group or others have any right to it, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise MemqlError(
                    Code.CONFIG_INVALID,
                    f"{path} holds secrets and is open to group or others (mode {mode:04o}); chmod 600 it if nobody "
                    "has read it, else remove it",
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MemqlError(Code.CONFIG_INVALID, f"{path} cannot be read: {error.strerror}") from error
