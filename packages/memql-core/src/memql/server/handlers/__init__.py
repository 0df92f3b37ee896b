"""The handlers of the core's payloads, one module per family."""

from __future__ import annotations

from memql.server.handlers import access, automations, concepts, control, queries, sense, subscriptions, tools
from memql.server.routing import RouteTable

__all__ = ["core_routes"]


def core_routes() -> RouteTable:
    """A table with every payload the core answers; roles add theirs to it."""
    families = (control, queries, subscriptions, tools, access, concepts, sense, automations)
    return RouteTable(*(family.ROUTES for family in families))
