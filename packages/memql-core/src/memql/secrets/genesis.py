"""The genesis envelope: the shared settings of a cluster as environment text, sealed as one blob (spec "Secrets")."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from memql.errors import Code, MemqlError
from memql.secrets.blob import open_blob, seal_blob
from memql.secrets.dotenv import parse_env
from memql.secrets.keys import MASTER_KEY_VARIABLE, MasterKey

__all__ = ["open_envelope", "read_sealed", "seal_envelope", "seal_file"]


def seal_envelope(key: MasterKey, text: str) -> bytes:
    """Seal environment text as it stands, comments included, once it has proved readable.

    :raises MemqlError: ``CONFIG_INVALID`` when the text is malformed or holds the master key itself.
    """
    if MASTER_KEY_VARIABLE in parse_env(text):
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{MASTER_KEY_VARIABLE} opens the envelope and must not lie in it; remove that line",
        )
    return seal_blob(key, text.encode())


def open_envelope(key: MasterKey | None, blob: bytes) -> str:
    """The environment text of an envelope; :func:`memql.secrets.dotenv.parse_env` reads it.

    :raises MemqlError: as :func:`memql.secrets.blob.open_blob`; ``CONFIG_INVALID`` when what was sealed is no
        environment text.
    """
    try:
        text = open_blob(key, blob).decode()
    except UnicodeDecodeError as error:
        raise MemqlError(Code.CONFIG_INVALID, "the envelope holds no UTF-8 text") from error
    parse_env(text)
    return text


def seal_file(path: Path, key: MasterKey, text: str) -> bytes:
    """Write an envelope, readable by its owner only, atomically; return the blob that was written.

    An existing file is replaced only when ``key`` opens it: a wrong key must not lock everybody out.

    :raises MemqlError: as :func:`seal_envelope`; as :func:`open_envelope` when the old file does not open.
    """
    blob = seal_envelope(key, text)
    try:
        old = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    else:
        open_blob(key, old)
    _write_privately(path, blob)
    return blob


def read_sealed(path: Path) -> bytes:
    """The bytes of a sealed file.

    :raises MemqlError: ``NOT_FOUND`` or ``FAILED_PRECONDITION`` when it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MemqlError(Code.NOT_FOUND, f"there is no sealed file {path}") from error
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise MemqlError(Code.FAILED_PRECONDITION, f"{path} cannot be read: {reason}") from error


def _write_privately(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
