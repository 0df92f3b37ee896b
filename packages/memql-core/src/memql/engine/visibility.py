"""Which events a caller may see (spec "Subscriptions and events"): an event about a row follows the row's rule."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from memql.auth import Actor
from memql.engine.context import RequestContext
from memql.engine.ports import Reader
from memql.engine.readable import sees_all_unruled
from memql.events.event import Event
from memql.ids import short_id
from memql.lang import ast
from memql.lang.catalog import Catalog, Concept

__all__ = ["may_see"]

_GRAPH: Final = "graph."
_OPERATIONAL: Final = (
    "automation.", "telemetry.", "query.", "session.", "cluster.", "system.", "cache.", "tool.", "si.", "ai.",
)  # fmt: skip
"""What runs, for whom and where: administrators see it, and everyone their own part."""


async def may_see(event: Event, actor: Actor, catalog: Catalog, reader: Reader) -> bool:
    """Whether the actor may see the event.

    Graph events follow the concept's ``@rowAuthz``; of a concept without one, administrators see all rows and others
    those they wrote. Operational events are for administrators and whoever caused them; other topics are open.
    """
    if actor.bypasses_row_rules:
        return True
    if event.topic.startswith(_GRAPH):
        concept = catalog.concepts.get(str(event.payload.get("concept", "")))
        return concept is not None and await _may_see_row(event, concept, actor, reader)
    if event.topic.startswith(_OPERATIONAL):
        return actor.has_role("admin") or (event.actor != "" and event.actor == actor.created_by)
    return actor.role != "guest"


async def _may_see_row(event: Event, concept: Concept, actor: Actor, reader: Reader) -> bool:
    rule = concept.row_rule
    if rule is None:
        return sees_all_unruled(actor) or (event.actor != "" and event.actor == actor.user_id)
    if rule.public:
        return True
    if rule.cluster_owner or not actor.user_id:
        return False
    if rule.owner:
        return _owner_of(event, rule.owner) in (actor.user_id, short_id(actor.user_id))
    return await _reads_row(event, concept, actor, reader)


def _owner_of(event: Event, field: str) -> object:
    if field == "createdBy":
        return event.actor
    payload = event.payload.get("payload")
    return payload.get(field) if isinstance(payload, dict) else event.payload.get(field)


async def _reads_row(event: Event, concept: Concept, actor: Actor, reader: Reader) -> bool:
    """Ask the graph, under the rule that every read of the concept obeys."""
    row = {"id": str(event.payload.get("id", ""))}
    result = await reader.read(_row_count(concept.key), {}, RequestContext(actor=actor, variables=row, inner=True))
    return bool(result.meta.count)


@lru_cache(maxsize=1024)
def _row_count(concept: str) -> ast.Read:
    """``count(withDeleted(concept == <concept> && id == $id))``, one object per concept so that its plan is kept."""
    row = ast.BoolOp(
        "&&",
        (
            ast.Compare("==", ast.Name("concept"), ast.ConceptRef(concept)),
            ast.Compare("==", ast.Name("id"), ast.Var("id")),
        ),
    )
    return ast.DirectiveRead("count", ast.DirectiveRead("withDeleted", ast.FilterRead(row), ()), ())
