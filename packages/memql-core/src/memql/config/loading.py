"""Settings from layers of variables: which layer wins, where each value came from, and what is wrong with it.

Precedence (spec "Secrets"): the process environment, then the genesis envelope, then the default. A
variable that is present counts even when it is empty; an empty value means the default for anything that is
not text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from memql.config.settings import Declaration, Settings, declarations
from memql.errors import Code, MemqlError

__all__ = ["PROCESS_SOURCE", "Layer", "load_settings", "mask"]

PROCESS_SOURCE = "process"


@dataclass(frozen=True, slots=True)
class Layer:
    """Variables of one origin. ``source`` is what provenance shows, for example ``genesis:b64``."""

    source: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    variable: str
    source: str
    text: str


def mask(value: str) -> str:
    """How a secret is shown: ``...`` and its last four characters, ``****`` when it is short."""
    if not value:
        return ""
    return "****" if len(value) <= 8 else "..." + value[-4:]


def load_settings(environ: Mapping[str, str] | None = None, *, layers: Sequence[Layer] | None = None) -> Settings:
    """The settings that an environment gives.

    :param environ: the process environment; ``os.environ`` unless given. Ignored when ``layers`` are given.
    :param layers: origins of variables, the strongest first, instead of the process environment alone.
    :raises MemqlError: ``CONFIG_INVALID``, naming every variable that is wrong, its value (masked when
        secret) and what is allowed; ``details.violations`` has one entry per variable.
    """
    if layers is None:
        layers = (Layer(PROCESS_SOURCE, os.environ if environ is None else environ),)
    declared = {declaration.field: declaration for declaration in declarations()}
    found = {field: hit for field, declaration in declared.items() if (hit := _find(declaration, layers)) is not None}
    values = {field: hit.text for field, hit in found.items() if hit.text or _takes_empty(declared[field])}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _invalid(error, declared, found) from None
    return settings.with_sources({field: hit.source for field, hit in found.items()})


def _find(declaration: Declaration, layers: Iterable[Layer]) -> _Found | None:
    for layer in layers:
        for name in declaration.all_names:
            text = layer.values.get(name)
            if text is not None:
                return _Found(name, layer.source, text)
    return None


def _takes_empty(declaration: Declaration) -> bool:
    return isinstance(declaration.default, str) and not declaration.default


def _invalid(error: ValidationError, declared: Mapping[str, Declaration], found: Mapping[str, _Found]) -> MemqlError:
    violations: list[dict[str, Any]] = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0])
        hit = found[field]
        declaration = declared[field]
        shown = mask(hit.text) if declaration.secret else hit.text
        allowed = _allowed(problem["msg"].removeprefix("Value error, "), declaration)
        violations.append(
            {
                "variable": hit.variable,
                "source": hit.source,
                "value": shown,
                "allowed": allowed,
                "message": f"{hit.variable}={shown!r} (from {hit.source}) is not valid: {allowed}",
            }
        )
    text = "; ".join(violation["message"] for violation in violations)
    return MemqlError(Code.CONFIG_INVALID, text, details={"violations": violations})


def _allowed(rule: str, declaration: Declaration) -> str:
    if rule.startswith("String should match pattern"):
        return f"expected {declaration.doc}"
    return rule[:1].lower() + rule[1:]
