"""What the server needs from the rest of the process, as protocols: it can be read, tested and replaced
alone.

The engine, the tools, the bus and the automations fit these protocols as they are; ``memql.node`` hands them
in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from memql.auth import Actor
from memql.auth.surfaces import CredentialKind, Surface
from memql.automations.events import RunEvent
from memql.config import Settings
from memql.engine.context import RequestContext
from memql.engine.logic.policies import PolicyOutcome
from memql.engine.readable import ReadableRows
from memql.engine.result import Result
from memql.engine.tools.dispatch import ClientExecution, ToolOutcome
from memql.engine.tools.models import Models
from memql.events import Bus, Event
from memql.graph.database import Database
from memql.lang.catalog import Catalog, Tool
from memql.server.sense_ports import Sense

if TYPE_CHECKING:
    from memql.auth.standing import Credential
    from memql.engine.write import GraphWriter
    from memql.server.subscriptions.tail import LogTail

__all__ = [
    "Authenticator",
    "Automations",
    "Credentials",
    "Engine",
    "EventLog",
    "NodeIdentity",
    "Policies",
    "Principal",
    "Services",
    "Tools",
]


class Engine(Protocol):
    """The engine facade, as far as sessions use it."""

    @property
    def catalog(self) -> Catalog:
        """The tree in force."""
        ...

    async def execute(
        self,
        text: str,
        *,
        actor: Actor,
        variables: Mapping[str, Any] | None = None,
        client_id: str = "",
        cursor: str = "",
        timeout: float | None = None,
    ) -> Result:
        """Run raw text, from a page's cursor on if one is given; raises MemqlError."""
        ...

    async def may_read(self, event: Event, actor: Actor) -> bool:
        """Whether the actor may see the event; of a graph event, whether it may read the row."""
        ...


class Tools(Protocol):
    """The tool dispatcher."""

    def visible(self, ctx: RequestContext) -> list[Tool]:
        """The tools this caller may call, by name."""
        ...

    async def call(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, client: ClientExecution | None = None
    ) -> ToolOutcome:
        """Run a tool as the caller; failures are outcomes."""
        ...


class Policies(Protocol):
    """Decision policies."""

    async def evaluate(self, name: str, args: Mapping[str, Any], ctx: RequestContext, *, trace: bool) -> PolicyOutcome:
        """Evaluate for a client; raises MemqlError, ``UNKNOWN_FUNCTION`` when there is none of that name."""
        ...


class Automations(Protocol):
    """Automations that can be run by hand."""

    def run(
        self,
        name: str,
        payload: Mapping[str, Any],
        *,
        actor: Actor,
        concept: str = "",
        topic: str = "",
        timeout: float,
    ) -> AsyncIterator[RunEvent]:
        """Run once: accepted first, complete last; raises MemqlError when it cannot begin. An async generator: it is
        closed by whoever stops reading."""
        ...


class EventLog(Protocol):
    """The durable log of graph events; ``memql.events.log.EventLog``. Numbers are ``Event.log_seq``."""

    async def settled(self) -> int:
        """The highest number up to which nothing can commit any more; 0 while that is unknown."""
        ...

    async def visible_after(self, position: int) -> frozenset[int]:
        """Numbers above ``position`` that are committed already."""
        ...

    async def oldest(self) -> int:
        """The lowest number still held; 0 when the log is empty."""
        ...

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Event]:
        """The events of at most ``limit`` versions with ``after < number <= upto``, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a caller showed: the ``authorization`` value, empty when none; where it called from, and on which
    surface."""

    authorization: str = field(default="", repr=False)
    peer: str = ""
    surface: Surface = Surface.MEMQL_SERVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a stream belongs to, and by which credential.

    ``credential_id`` and ``session_id`` are full ids of rows, empty where there is none. ``expires_at`` is when the
    credential ends by itself, None for never. ``role_ceiling`` is the highest role it may act with, empty for no limit.
    ``credential`` is what must be looked up to know whether it still counts; None when nothing can revoke it.
    """

    actor: Actor
    credential_class: CredentialKind = CredentialKind.LOCAL_DEV
    surface: Surface = Surface.MEMQL_SERVICE
    credential: Credential | None = None
    credential_id: str = ""
    session_id: str = ""
    expires_at: datetime | None = None
    given_name: str = ""
    family_name: str = ""
    phone: str = ""
    role_ceiling: str = ""

    @property
    def subject(self) -> str:
        """The user's full id, or the name of a principal that is no user."""
        return self.actor.created_by


class Authenticator(Protocol):
    """Turns credentials into a principal."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Verify; raises MemqlError ``UNAUTHENTICATED`` or ``FORBIDDEN``, ``UNAVAILABLE`` when that cannot be told."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Which node this is."""

    id: str
    type: str
    flavor: str = ""
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Services:
    """Everything a handler can reach. A part that is None is not on this node; asking for it is ``Unavailable``."""

    identity: NodeIdentity
    engine: Engine
    bus: Bus
    version: str
    settings: Settings = field(default_factory=Settings)
    database: Database | None = None
    writer: GraphWriter | None = None
    """The write pipeline, for code of the host that acts by itself."""
    authenticator: Authenticator | None = None
    tools: Tools | None = None
    policies: Policies | None = None
    models: Models | None = None
    readable: ReadableRows | None = None
    automations: Automations | None = None
    sense: Sense | None = None
    tail: LogTail | None = None
    drain: Callable[[str], bool] | None = None
    """Starts the node's graceful stop, with a reason; False when it is under way already."""
