"""What every catalog entry has in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memql.lang.checker.check import Check
from memql.lang.checker.tree import Declared

__all__ = ["common"]


def common(check: Check, declared: Declared) -> dict[str, Any]:
    """The arguments that every :class:`memql.lang.catalog.Construct` takes; the scope is what has resolved so far."""
    return {
        "key": declared.key,
        "name": declared.name,
        "namespace": declared.namespace,
        "file": declared.file.path,
        "span": declared.decl.span,
        "annotations": replace(check.annotations[declared], enabled=declared.enabled),
        "scope": declared.scope(),
    }
