"""Roles as plug-ins: what a role adds to a node, how installed ones are found, and which this process plays.

A role wheel publishes one entry point in the group ``memql.roles``, named as the role, whose value is a
:class:`Role` subclass.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, ClassVar, Protocol

from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    import grpc
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    from memql.config import Settings
    from memql.engine.ports import BuiltinExecutor
    from memql.node.node import Node
    from memql.node.trust import LocalIssuer
    from memql.server.ports import Services
    from memql.server.routing import Route

__all__ = [
    "DEFAULT_TYPE",
    "ENTRY_POINTS",
    "Choice",
    "Companion",
    "Component",
    "Role",
    "choose_roles",
    "installed_roles",
]

log = logging.getLogger(__name__)

ENTRY_POINTS = "memql.roles"
DEFAULT_TYPE = "bff"


@dataclass(frozen=True, slots=True)
class Component:
    """A background loop of a node: runs until it is cancelled. When it fails because the database is away, it begins
    again; when it fails otherwise, or returns, it takes the node down."""

    name: str
    run: Callable[[], Awaitable[None]]


class Companion(Protocol):
    """What a node of one role lives beside: the mesh. A process that plays every role has none."""

    def checks(self) -> Sequence[tuple[str, bool]]:
        """Readiness checks by name and outcome; asked often, so they look at what is known already."""
        ...

    async def drain(self, seconds: float) -> None:
        """End gracefully, within so many seconds; called after the node's own streams have ended."""
        ...


class Role:
    """What a role adds. Subclass it, set the class variables, and override what the role has.

    The methods are called once, in this order, while the node starts; the services are complete except for what
    later roles add.
    """

    name: ClassVar[str]
    """The node type, for example ``"voice"``."""

    port: ClassVar[int]
    """Where its NodeService listens unless ``MEMQL_NODE_SERVICE_ADDRESS`` says otherwise."""

    mesh_worker: ClassVar[bool] = True
    """Whether it joins the mesh as a worker; identity never does."""

    def issuer(self, settings: Settings) -> LocalIssuer | None:
        """The tokens that this node itself issues, if that is the role's job; asked before anything is opened.

        :raises MemqlError: what keeps it from issuing; the node does not start then.
        """
        return None

    async def prepare(self, services: Services) -> None:
        """What must be done before the node listens; database, tree and seeds are in place. It must be bounded, and it
        asks the database within ``Database.ride_out``."""

    def executors(self, services: Services) -> Mapping[str, BuiltinExecutor]:
        """Host code behind builtins, by ``@executor`` name."""
        return {}

    def payloads(self, services: Services) -> Iterable[Route]:
        """Handlers of payloads of MemqlService."""
        return ()

    def http_routes(self, services: Services) -> Iterable[web.AbstractRouteDef]:
        """HTTP routes."""
        return ()

    def http_middlewares(self, services: Services) -> Iterable[Middleware]:
        """What every HTTP request passes through, the node's own routes too; the first is the outermost."""
        return ()

    def grpc_handlers(self, services: Services) -> Iterable[grpc.GenericRpcHandler]:
        """Further gRPC services of the public listener."""
        return ()

    def components(self, services: Services) -> Iterable[Component]:
        """Background loops."""
        return ()

    def companion(self, node: Node) -> AbstractAsyncContextManager[Companion] | None:
        """What runs beside a node that plays this role alone: entered when all routes are known, before the node
        listens and is ready; left after its listeners are closed."""
        return None


def installed_roles() -> Mapping[str, EntryPoint]:
    """The entry points of the roles in this environment, by name; nothing is imported yet."""
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)}


@dataclass(frozen=True, slots=True)
class Choice:
    """The node type of this process and the names of the roles it plays."""

    node_type: str
    roles: tuple[str, ...]


def choose_roles(installed: Sequence[str], wanted: str | None, *, everything: bool = False) -> Choice:
    """Which role wins.

    :param installed: names of the installed roles.
    :param wanted: ``MEMQL_NODE_TYPE``.
    :param everything: play all of them, as the single-process system does.
    :raises MemqlError: ``CONFIG_INVALID`` when the wanted one is not among several installed.
    """
    if everything or not installed:
        return Choice(wanted or DEFAULT_TYPE, tuple(installed))
    if len(installed) == 1:
        (only,) = installed
        if wanted and wanted != only:
            log.warning("MEMQL_NODE_TYPE=%s is ignored: the only installed role is %s", wanted, only)
        return Choice(only, (only,))
    chosen = wanted or DEFAULT_TYPE
    if chosen not in installed:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"MEMQL_NODE_TYPE is {chosen!r}, which is not installed here; there are {', '.join(sorted(installed))}",
        )
    return Choice(chosen, (chosen,))


def load_role(point: EntryPoint) -> Role:
    """Import and make a role.

    :raises MemqlError: ``CONFIG_INVALID`` when the plug-in cannot be imported or is no role.
    """
    try:
        kind = point.load()
    except Exception as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"the role {point.name!r} ({point.value}) cannot be loaded: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Role)) or kind.name != point.name:
        raise MemqlError(Code.CONFIG_INVALID, f"{point.value} is not the memQL role {point.name!r}")
    return kind()
