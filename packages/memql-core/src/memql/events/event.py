"""One event: something that happened, under a dotted topic (spec "Subscriptions and events", "Identity and
loop prevention")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["Event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An immutable event.

    ``id`` is the identity used for deduplication: ``g:<log seq>:<action>`` for graph events, a UUID
    otherwise. ``actor`` is what ``createdBy`` would record. ``origin`` is the node it came from, empty when
    local. ``log_seq`` is the log position of a graph event, the resume cursor of subscriptions.
    """

    id: str
    topic: str
    payload: Mapping[str, Any]
    kind: str = "MESSAGE"
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    actor: str = ""
    origin: str = ""
    log_seq: int | None = None
    cause: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether another node published it first."""
        return bool(self.origin)
