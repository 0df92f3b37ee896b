"""What a write is to do, decided before the pipeline runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from memql.engine.context import RequestContext
from memql.engine.write.payloads import PayloadRules
from memql.graph.log import Head

__all__ = ["Intent", "RowTest", "WriteKind"]

WriteKind: TypeAlias = Literal["insert", "update", "delete"]

RowTest: TypeAlias = Callable[[Head, RequestContext], Awaitable[bool]]
"""Whether a caller's condition holds for the latest, live version of the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One write of one row.

    ``id`` is as the caller gave it, None or empty to derive it from the content. ``payload`` is the whole payload of
    an insert or the change of an update; ``deep`` names the fields an update merges. ``if_version`` is the version
    (microseconds) an update expects, ``test`` the condition on the latest version. ``create_only`` leaves any id that
    has a version alone, ``idempotent`` writes nothing when the row is already as it would become. ``provenance`` is
    recorded instead of the context's.
    """

    kind: WriteKind
    rules: PayloadRules
    id: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    deep: tuple[str, ...] = ()
    if_version: int | None = None
    reason: str | None = None
    created_at: datetime | None = None
    provenance: Mapping[str, Any] | None = None
    test: RowTest | None = None
    create_only: bool = False
    idempotent: bool = False
