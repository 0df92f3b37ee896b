"""What is AND-ed into reads: ``@rowAuthz`` of the concepts (spec "Four classes") and ``@defaultFilter``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from memql.engine.read import operands
from memql.engine.read.place import Place
from memql.engine.read.terms import Comparison, Either, Every, Folded, Known, Not, Predicate
from memql.engine.values import Env
from memql.lang.catalog import Concept

if TYPE_CHECKING:
    from memql.engine.read.resolver import Resolver

__all__ = ["default_filters", "row_rules"]


def row_rules(resolver: Resolver, place: Place) -> list[Predicate]:
    """One predicate per concept of the place that has a rule; all hold for who bypasses row rules."""
    found: list[Predicate] = []
    for concept in _concepts(resolver, place):
        rule = concept.row_rule
        if rule is None or rule.public:
            continue
        bypass = resolver.slot(_bypasses, replace(place, frame=-1))
        found.append(
            Either((Known(bypass), *_only_for(resolver, concept, place, _rule(resolver, concept, place, bypass))))
        )
    return found


def _rule(resolver: Resolver, concept: Concept, place: Place, bypass: int) -> Predicate | None:
    """The rule for rows of the concept; None when only those who bypass may see them."""
    rule = concept.row_rule
    assert rule is not None
    # Evaluated as the call's own actor, wherever the row is reached, and only when it matters.
    inside = Place(concept.scope, frozenset({concept.key}), guards=(*place.guards, (bypass, False)), unruled=True)
    if rule.owner:
        intrinsic = rule.owner in ("id", "createdBy")
        root, below = (rule.owner, "") if intrinsic else ("payload", rule.owner)
        owner = operands.row_value(resolver, root, (below,) if below else (), inside)
        user = Folded(resolver.slot(lambda env: env.actor.user_id, inside, nobody=True))
        return Comparison("has" if _is_list(owner) else "==", owner, user)
    if rule.via:
        spec = resolver.catalog.specs[rule.via]
        return resolver.predicate(spec.filter, replace(inside, scope=spec.scope))
    return None


def _is_list(owner: object) -> bool:
    field = getattr(owner, "field", None)
    return field is not None and bool(field.only("list"))


def _only_for(resolver: Resolver, concept: Concept, place: Place, rule: Predicate | None) -> Iterator[Predicate]:
    """The alternatives to bypassing: the rule holds, or the row is of another concept."""
    if rule is not None:
        yield rule
    if place.concepts != frozenset({concept.key}):
        key = concept.key
        literal = Folded(resolver.slot(lambda env: key, replace(place, frame=-1), exact=True))
        yield Not(Comparison("==", operands.row_value(resolver, "concept", (), place), literal))


def default_filters(resolver: Resolver, place: Place) -> list[Predicate]:
    """``@defaultFilter`` of the concepts of the place, each for its own rows."""
    found: list[Predicate] = []
    for concept in _concepts(resolver, place):
        if concept.default_filter is None:
            continue
        inside = replace(place, scope=concept.scope, concepts=frozenset({concept.key}), lets={}, args={})
        own = resolver.predicate(concept.default_filter, inside)
        others = tuple(_only_for(resolver, concept, place, None))
        found.append(Either((own, *others)) if others else Every((own,)))
    return found


def _concepts(resolver: Resolver, place: Place) -> list[Concept]:
    return [resolver.catalog.concepts[key] for key in sorted(place.concepts or ())]


def _bypasses(env: Env) -> bool:
    return env.actor.bypasses_row_rules
