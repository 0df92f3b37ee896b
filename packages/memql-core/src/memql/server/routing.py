"""Which handler answers which payload: a table that role plug-ins extend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from memql.errors import MemqlError
from memql.server.replies import Payload, query_error
from memql.wire.payloads import CLIENT

if TYPE_CHECKING:
    from memql.server.session import Call

__all__ = ["DEFAULT_TIMEOUT", "MAX_TIMEOUT", "TOOL_TIMEOUT", "Failure", "Handler", "Route", "RouteTable"]

DEFAULT_TIMEOUT = 30.0
"""Seconds a request may take unless its ``metadata.timeout_ms`` says otherwise."""

TOOL_TIMEOUT = 120.0
"""The same for tools."""

MAX_TIMEOUT = 300.0
"""The most a client may ask for."""

Handler: TypeAlias = "Callable[[Call], Awaitable[Payload | None]]"
"""Answers one request with the last (or only) payload; earlier ones go through ``call.send``. None: no
answer."""

Failure: TypeAlias = "Callable[[Call, MemqlError], Payload]"
"""The payload that reports a failed request."""


def _default_failure(call: Call, error: MemqlError) -> Payload:
    return query_error(call.request_id, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a payload is answered.

    ``inline`` handlers run in the receive loop: they are for frames that only touch the session's own state,
    must not wait, and do not count as unfinished requests. ``timeout`` is in seconds. ``is_query`` routes go
    through the stream's query gate, if it has one.
    """

    name: str
    handler: Handler | None = None
    inline: Callable[[Call], Payload | None] | None = None
    failure: Failure = _default_failure
    timeout: float = DEFAULT_TIMEOUT
    is_query: bool = False


class RouteTable:
    """Routes by payload name."""

    def __init__(self, *families: Iterable[Route]) -> None:
        self._routes: dict[str, Route] = {}
        for family in families:
            self.add(family)

    def add(self, routes: Iterable[Route]) -> None:
        """Add a family of routes.

        :raises ValueError: for a payload that is not in the envelope, or has a route already.
        """
        for route in routes:
            if route.name not in CLIENT.by_name:
                raise ValueError(f"{route.name!r} is not a payload of MemqlClientMessage")
            if route.name in self._routes:
                raise ValueError(f"payload {route.name!r} has a route already")
            if (route.handler is None) == (route.inline is None):
                raise ValueError(f"route {route.name!r} needs exactly one of handler and inline")
            self._routes[route.name] = route

    def replace(self, routes: Iterable[Route]) -> None:
        """Set routes whether or not their payloads have one: where a node has others answer for it.

        :raises ValueError: for a payload that is not in the envelope.
        """
        for route in routes:
            self._routes.pop(route.name, None)
            self.add((route,))

    def get(self, name: str) -> Route | None:
        """The route of a payload, or None."""
        return self._routes.get(name)

    @property
    def routes(self) -> Mapping[str, Route]:
        """All of them."""
        return dict(self._routes)


def request_text(message: Any) -> str:
    """The ``request_id`` of a message that has one."""
    return getattr(message, "request_id", "") or ""
