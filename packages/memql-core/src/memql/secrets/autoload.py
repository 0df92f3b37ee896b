"""Opening the genesis envelope at start: set-if-absent below the process environment (spec "Secrets", autoload)."""

from __future__ import annotations

import binascii
import logging
from base64 import b64decode
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from memql.errors import Code, MemqlError
from memql.secrets.dotenv import parse_env
from memql.secrets.genesis import open_envelope, read_sealed
from memql.secrets.keys import load_master_key

__all__ = ["AppliedEnvelope", "LoadedEnvelope", "autoload", "load_envelope"]

_AUTOLOAD = "MEMQL_GENESIS_AUTOLOAD"
_BASE64 = "MEMQL_GENESIS_B64"
_PATH = "MEMQL_GENESIS_PATH"
_DEFAULT_PATH = Path("~/.memql/genesis.znas")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedEnvelope:
    """An opened envelope. ``source`` is ``genesis:b64`` or ``genesis:path``; values do not show in representations."""

    source: str
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppliedEnvelope:
    """What :func:`autoload` did: the names it set, and those that the environment had already."""

    source: str = ""
    applied: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def load_envelope(environ: Mapping[str, str]) -> LoadedEnvelope | None:
    """The envelope this environment asks for; None when ``MEMQL_GENESIS_AUTOLOAD`` is off.

    ``MEMQL_GENESIS_B64`` (never written to disk) goes before ``MEMQL_GENESIS_PATH``, and that before
    ``~/.memql/genesis.znas``. A source that is named is the one that counts: a bad one is not passed over.

    :raises MemqlError: ``CONFIG_INVALID`` without a source or a key, and as :func:`open_envelope` when it
        does not open. A node that cannot open its envelope must not start.
    """
    if not _is_on(environ):
        return None
    encoded = environ.get(_BASE64, "").strip()
    blob, source = (_decode(encoded), "genesis:b64") if encoded else (_read(environ), "genesis:path")
    return LoadedEnvelope(source, parse_env(open_envelope(load_master_key(environ), blob)))


def autoload(environ: MutableMapping[str, str]) -> AppliedEnvelope:
    """Set every name of the envelope that ``environ`` lacks; an empty value counts as present.

    :raises MemqlError: as :func:`load_envelope`; nothing is set then.
    """
    envelope = load_envelope(environ)
    if envelope is None:
        return AppliedEnvelope()
    applied = tuple(name for name in envelope.values if name not in environ)
    kept = tuple(name for name in envelope.values if name in environ)
    environ.update({name: envelope.values[name] for name in applied})
    log.info("genesis envelope %s: %d names set, %d already present", envelope.source, len(applied), len(kept))
    return AppliedEnvelope(envelope.source, applied, kept)


def _is_on(environ: Mapping[str, str]) -> bool:
    text = environ.get(_AUTOLOAD, "").strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise MemqlError(Code.CONFIG_INVALID, f"{_AUTOLOAD}={text!r} is neither true nor false")


def _decode(encoded: str) -> bytes:
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except binascii.Error as error:
        raise MemqlError(Code.CONFIG_INVALID, f"{_BASE64} is not base64") from error


def _read(environ: Mapping[str, str]) -> bytes:
    named = environ.get(_PATH, "").strip()
    path = Path(named).expanduser() if named else _DEFAULT_PATH.expanduser()
    try:
        return read_sealed(path)
    except MemqlError as error:
        message = f"{_AUTOLOAD} is on, but neither {_BASE64} is set nor can {path} be read; seal an envelope first"
        raise MemqlError(Code.CONFIG_INVALID, message) from error
