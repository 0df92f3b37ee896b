"""Which events leave a node, and for whom (spec "Routing rules").

Rules are looked at in two passes: a block keeps an event here whatever else matches; then the first rule that forwards
decides. An event that no rule matches stays. Every node must have the same rules: the table of the core is below, and a
product adds its own with :func:`register_rule` or in ``MEMQL_MESH_ROUTES``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from memql.errors import Code, MemqlError
from memql.events.topics import compile_pattern

__all__ = ["BLOCK", "CORE_RULES", "EVERYONE", "STAY", "Decision", "Router", "Rule", "parse_rules", "register_rule"]

EVERYONE: Final[frozenset[str]] = frozenset()
"""The targets of a rule that forwards to peers of every type."""

_CACHED_TOPICS: Final = 8192


@dataclass(frozen=True, slots=True)
class Rule:
    """Events whose topic matches ``pattern`` go to nodes of the types ``targets`` (:data:`EVERYONE` for all), or stay
    here if ``block``."""

    pattern: str
    targets: frozenset[str] = EVERYONE
    block: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a topic: it is forwarded to some types of node, blocked, or merely not forwarded."""

    forward: bool = False
    targets: frozenset[str] = EVERYONE
    blocked: bool = False

    def is_for(self, node_type: str) -> bool:
        """Whether nodes of a type should see the event."""
        return self.forward and (not self.targets or node_type in self.targets)


STAY: Final = Decision()
BLOCK: Final = Decision(blocked=True)


def _rules(targets: Iterable[str], *patterns: str) -> tuple[Rule, ...]:
    return tuple(Rule(pattern, frozenset(targets)) for pattern in patterns)


def _changes(*concepts: str) -> tuple[str, ...]:
    return tuple(f"graph.node.{action}.{name}" for name in concepts for action in ("created", "updated", "deleted"))


CORE_RULES: Final[tuple[Rule, ...]] = (
    *(Rule(pattern, block=True) for pattern in ("automation.#", "telemetry.#", "session.#", "query.#", "mesh.#")),
    *_rules(EVERYONE, *_changes("v1:cluster:*", "v1:cognition:*", "v1:planner:*")),
    *_rules(["voice"], "cognition.response.audio"),
    *_rules(["bff"], "voice.gate.directive", "router.budget.threshold"),
    *_rules(EVERYONE, "cache.invalidate.*", "healing.#", "authoring.promote.*", "authoring.demote.*"),
    *_rules(EVERYONE, "providers.reload.*", "graph.node.created.v1:identity:user"),
    *_rules(EVERYONE, *_changes("v1:worker:registration", "v1:workbench:workspace")),
    *_rules(EVERYONE, *_changes("v1:platform:*Secret", "v1:platform:*Variable")),
    *_rules(
        ["planner"],
        *(
            f"graph.node.{action}.v1:harness:{name}"
            for name in ("plan", "step", "observation")
            for action in ("created", "updated")
        ),
    ),
    *_rules(["cognition", "agent"], "graph.node.created.v1:agents:*", "graph.node.updated.v1:agents:*"),
)
"""The rules of every node, in order."""

_registered: list[Rule] = []


def register_rule(rule: Rule) -> None:
    """Add a rule to those of every router made afterwards in this process; call it while modules load.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a pattern that is none.
    """
    compile_pattern(rule.pattern)
    _registered.append(rule)


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Rules from ``pattern=target,...``, as ``MEMQL_MESH_ROUTES`` has them; a target is a node type or several joined
    by ``+``, ``all``, or ``block``.

    :raises MemqlError: ``CONFIG_INVALID`` naming the entry that is none.
    """
    return tuple(_parse(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse(entry: str) -> Rule:
    pattern, sign, target = (part.strip() for part in entry.partition("="))
    if not sign or not pattern or not target:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"MEMQL_MESH_ROUTES has {entry!r}; expected pattern=target, a target being node types joined by +, all or "
            "block",
        )
    try:
        compile_pattern(pattern)
    except MemqlError as error:
        raise MemqlError(Code.CONFIG_INVALID, f"MEMQL_MESH_ROUTES has {entry!r}: {error.message}") from error
    if target == "block":
        return Rule(pattern, block=True)
    return Rule(pattern, EVERYONE if target == "all" else frozenset(part.strip() for part in target.split("+")))


class Router:
    """Decides by the rules of this process; a topic's decision is looked up after the first time.

    :param rules: those of roles and products, after the core's and the registered ones.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        every: Sequence[Rule] = (*CORE_RULES, *_registered, *rules)
        self._blocks = [compile_pattern(rule.pattern) for rule in every if rule.block]
        self._forwards = [
            (compile_pattern(rule.pattern), Decision(forward=True, targets=rule.targets))
            for rule in every
            if not rule.block
        ]
        self._known: dict[str, Decision] = {}

    def decide(self, topic: str) -> Decision:
        """What becomes of events under a topic."""
        known = self._known.get(topic)
        return self._look_up(topic) if known is None else known

    def _look_up(self, topic: str) -> Decision:
        decision = self._decide(topic)
        if len(self._known) >= _CACHED_TOPICS:
            self._known.clear()
        self._known[topic] = decision
        return decision

    def _decide(self, topic: str) -> Decision:
        if any(pattern.matches(topic) for pattern in self._blocks):
            return BLOCK
        for pattern, decision in self._forwards:
            if pattern.matches(topic):
                return decision
        return STAY
