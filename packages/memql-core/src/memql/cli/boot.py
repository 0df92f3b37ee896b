"""How a process finds its settings: environment, genesis envelope, ``.env`` (spec "Secrets", precedence)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from memql.config import PROCESS_SOURCE, Layer, Settings, load_settings
from memql.errors import Code, MemqlError

__all__ = ["boot_layers", "boot_settings"]

_DOTENV_SOURCE = "dotenv"


def boot_layers(environ: Mapping[str, str], directory: Path) -> list[Layer]:
    """The origins of variables, the strongest first.

    A ``.env`` in ``directory`` counts only when the environment says ``MEMQL_ENVIRONMENT=development``; then
    it wins.

    :raises MemqlError: ``CONFIG_INVALID`` when the envelope that was asked for does not open, or ``.env`` is
        malformed.
    """
    layers = [Layer(PROCESS_SOURCE, environ)]
    if environ.get("MEMQL_GENESIS_AUTOLOAD"):
        from memql.secrets import load_envelope

        envelope = load_envelope(environ)
        if envelope is not None:
            layers.append(Layer(envelope.source, envelope.values))
    dotenv = directory / ".env"
    if environ.get("MEMQL_ENVIRONMENT") == "development" and dotenv.is_file():
        layers.insert(0, Layer(_DOTENV_SOURCE, _read_dotenv(dotenv)))
    return layers


def boot_settings(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """The settings that a node started here and now would run with.

    :raises MemqlError: ``CONFIG_INVALID``, as :func:`boot_layers` and :func:`memql.config.load_settings`.
    """
    layers = boot_layers(os.environ if environ is None else environ, directory or Path.cwd())
    return load_settings(layers=layers)


def _read_dotenv(path: Path) -> dict[str, str]:
    from memql.secrets import parse_env

    try:
        return parse_env(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"{path} cannot be read: {error}") from error
