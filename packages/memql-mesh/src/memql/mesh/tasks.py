"""How what peers ask for becomes a task of its own, so that their next envelope can be read meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

__all__ = ["Start"]


class Start(Protocol):
    """Starts a task; ``TaskGroup.start_soon`` fits."""

    def __call__(self, function: Any, /, *args: Any, name: object = None) -> Awaitable[None] | None:
        """Start ``function(*args)``."""
        ...
