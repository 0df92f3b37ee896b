"""What one top-level call carries through the engine: who, when, under which provenance, in which
transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection

from memql.auth import Actor
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.ids import derived_id

if TYPE_CHECKING:
    from memql.engine.journal import Journal

__all__ = ["MAX_CALL_DEPTH", "IdSequence", "RequestContext", "format_instant"]

MAX_CALL_DEPTH: Final = 32
"""How deep calls may nest."""


def format_instant(moment: datetime) -> str:
    """RFC 3339 UTC with microseconds, as ``now`` and ``createdAt`` appear everywhere."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


@dataclass(slots=True)
class IdSequence:
    """The source of ``newId()`` in an automation: derived from the run and the position, so that a repeated
    run writes the same ids. ``path`` is the run key, then statement and iteration positions."""

    path: tuple[str, ...]
    count: int = 0

    def child(self, *parts: str) -> IdSequence:
        """The sequence of a nested position."""
        return IdSequence((*self.path, *parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One call. ``now`` is captured once and is the only clock of the language.

    ``provenance`` is what writes record: ``{"kind": "direct"}``,
    ``{"kind": "automation", "name", "trigger"}``... A mutation called by a client replaces kind ``direct``
    with ``mutation``; inside an automation the automation's stays for all writes. ``connection`` is set
    inside a transaction (``@atomic``): reads and writes must use it, and events go to ``deferred`` to be
    published after commit. ``ids`` is set inside automations.
    """

    actor: Actor
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    variables: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=lambda: {"kind": "direct", "name": "raw"})
    client_id: str = ""
    connection: AsyncConnection[Any] | None = None
    deferred: list[Event] | None = None
    ids: IdSequence | None = None
    journal: Journal | None = None
    """Set inside a durable run: every call of a body goes through it, so that a repeated run repeats no
    effect."""
    cause: str = ""
    """The automations that led here, outermost first, joined by ``>``; what the events of this call carry
    on."""
    depth: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    """Allow-listed values of ``actor.config.<key>``."""
    inner: bool = False
    """Whether a construct (logic, automation, tool) makes this call rather than a client: access marks such
    as ``@internal`` and the client-only rules do not apply, classes and row rules do."""

    @property
    def now_text(self) -> str:
        """``now`` as the language shows it."""
        return format_instant(self.now)

    @property
    def idempotency_key(self) -> str:
        """What tells an outside effect of a durable run from all others: the same whenever the run is repeated, so that
        the called party can recognise a repetition. Empty outside automations."""
        return "" if self.ids is None else derived_id("effect", *self.ids.path)

    def check_depth(self, name: str) -> None:
        """Refuse to go deeper than :data:`MAX_CALL_DEPTH`.

        :param name: what is called.
        :raises MemqlError: ``RESOURCE_EXHAUSTED``.
        """
        if self.depth > MAX_CALL_DEPTH:
            raise MemqlError(Code.RESOURCE_EXHAUSTED, f"{name} is called more than {MAX_CALL_DEPTH} levels deep")

    def called_by_construct(self) -> RequestContext:
        """The context of a call made by a body; one level deeper."""
        return replace(self, inner=True, depth=self.depth + 1)
