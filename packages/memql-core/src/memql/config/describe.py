"""The configuration as rows for people: name, value, where it came from, what it means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BeforeValidator

from memql.config.loading import mask
from memql.config.settings import Settings, declarations
from memql.config.value_types import parse_duration

__all__ = ["SettingRow", "describe", "unknown_variables"]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as shown by ``memql env``. ``value`` is masked for secrets unless revealed; ``required``
    tells that a node with these settings needs it, ``missing`` that it has none.
    """

    name: str
    value: str
    source: str
    doc: str
    secret: bool
    required: bool
    missing: bool


def describe(settings: Settings, *, reveal: bool = False) -> list[SettingRow]:
    """Every setting in declaration order.

    :param reveal: whether secrets are shown as they are.
    """
    required = settings.required_fields
    rows = []
    for declaration in declarations():
        text = _text(getattr(settings, declaration.field), unit=declaration.field in _DURATIONS)
        rows.append(
            SettingRow(
                name=declaration.name,
                value=mask(text) if declaration.secret and not reveal else text,
                source=settings.source_of(declaration.field),
                doc=declaration.doc,
                secret=declaration.secret,
                required=declaration.field in required,
                missing=declaration.field in required and not text,
            )
        )
    return rows


def unknown_variables(environ: Iterable[str]) -> dict[str, str]:
    """``MEMQL_`` names that no setting of core reads, each with the closest known name (or empty).

    They may belong to a role that reads its own; ``memql doctor`` shows those that are one typing error away.
    """
    known = {name for declaration in declarations() for name in declaration.all_names}
    unknown = {}
    for name in environ:
        if name.startswith("MEMQL_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            unknown[name] = close[0] if close else ""
    return unknown


_DURATIONS = frozenset(
    name
    for name, field in Settings.model_fields.items()
    if any(isinstance(one, BeforeValidator) and one.func is parse_duration for one in field.metadata)
)
"""Settings that take a number with a unit; of the others the name says what is counted."""


def _text(value: Any, *, unit: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ":".join(map(str, value)) if any("/" in str(item) for item in value) else ",".join(map(str, value))
    if isinstance(value, Mapping):
        return ",".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, float):
        return _duration(value) if unit else f"{value:g}"
    return str(value)


def _duration(seconds: float) -> str:
    """A duration as it can be set, in the largest unit that it is a whole number of."""
    units = (("h", 3600.0), ("m", 60.0))
    for name, length in units:
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{name}"
    return f"{seconds:g}s"
