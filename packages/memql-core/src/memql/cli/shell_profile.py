"""A marked block in the start-up file of a shell: what a new shell needs to open an envelope."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from memql.errors import Code, MemqlError

__all__ = ["profile_of_shell", "write_block"]

_BEGIN, _END = "# >>> memql genesis >>>", "# <<< memql genesis <<<"
_PROFILES = {"bash": ".bashrc", "zsh": ".zshrc", "sh": ".profile", "dash": ".profile", "ksh": ".kshrc"}


def profile_of_shell(environ: Mapping[str, str]) -> Path:
    """The start-up file of the shell in ``SHELL``.

    :raises MemqlError: ``CONFIG_INVALID`` for a shell that is not one of the Bourne family.
    """
    shell = Path(environ.get("SHELL", "")).name
    if shell not in _PROFILES:
        raise MemqlError(
            Code.CONFIG_INVALID, f"no start-up file is known of the shell {shell!r}; name one with --sync-source"
        )
    return Path.home() / _PROFILES[shell]


def write_block(path: Path, values: Mapping[str, str]) -> None:
    """Have a start-up file export these values: the block of an earlier call is replaced, everything else stays.

    The file is replaced atomically; a new one is readable by its owner only, and so is one that held no secret before.

    :raises MemqlError: ``CONFIG_INVALID`` when it cannot be read or written, or a block has no end.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        _replace(path, _with_block(text, values, path))
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"{path} cannot be changed: {error}") from error


def _with_block(text: str, values: Mapping[str, str], path: Path) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    block = "\n".join((_BEGIN, *lines, _END)) + "\n"
    before, begun, rest = text.partition(_BEGIN)
    if not begun:
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{block}"
    _, ended, after = rest.partition(_END + "\n")
    if not ended:
        raise MemqlError(Code.CONFIG_INVALID, f"the block that begins with {_BEGIN!r} in {path} has no end; remove it")
    return before + block + after


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays a link
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # created with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
