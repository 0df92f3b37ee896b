"""``concepts_list`` and ``concepts_subscribe``: what there is to subscribe to."""

from __future__ import annotations

from collections import defaultdict

from memql.lang.catalog import Concept
from memql.server.replies import Payload
from memql.server.routing import Route
from memql.server.session import Call
from memql.wire.messages import (
    ConceptDescriptor,
    ConceptsListResult,
    ConceptsSubscribeResult,
    DisplayCard,
    DomainFilters,
)

__all__ = ["ROUTES"]

_BASE_TOPICS = ("graph.node.created", "graph.node.updated", "graph.node.deleted")
_SYSTEM_TOPICS = (
    "automation.completed",
    "automation.failed",
    "automation.started",
    "automation.step.completed",
    "automation.step.failed",
    "automation.step.started",
    "query.executed",
    "session.closed",
    "session.opened",
    "si.completion.error",
    "si.completion.finished",
    "si.completion.started",
    "system.shutdown",
    "system.startup",
    "tool.called",
    "tool.completed",
    "tool.failed",
)


async def _list(call: Call) -> Payload:
    concepts = call.services.engine.catalog.concepts
    return ConceptsListResult(
        request_id=call.request_id,
        concepts=[_describe(concepts[key]) for key in sorted(concepts)],
        base_topics=list(_BASE_TOPICS),
        system_topics=list(_SYSTEM_TOPICS),
    )


def _describe(concept: Concept) -> ConceptDescriptor:
    card = concept.display_card
    return ConceptDescriptor(
        id=concept.key,
        version=concept.version,
        domain=concept.namespace,
        entity=concept.name,
        description=concept.annotations.description,
        type=concept.row_type,
        display_card=DisplayCard(
            **{name: card.get(name, "") for name in ("primary", "secondary", "tertiary", "status")}
        )
        if card
        else None,
    )


async def _filters(call: Call) -> Payload:
    wanted = set(call.message.domains)
    by_domain: dict[str, list[str]] = defaultdict(list)
    for key, concept in sorted(call.services.engine.catalog.concepts.items()):
        if not wanted or concept.namespace in wanted:
            by_domain[concept.namespace].append(f"node.created.{key}")
    return ConceptsSubscribeResult(
        request_id=call.request_id,
        domains=[DomainFilters(domain=domain, filters=by_domain[domain]) for domain in sorted(by_domain)],
    )


ROUTES = (
    Route(name="concepts_list", handler=_list),
    Route(name="concepts_subscribe", handler=_filters),
)
