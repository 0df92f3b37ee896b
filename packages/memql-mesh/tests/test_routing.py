"""The rule tables, row by row, and how rules combine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.events.topics import compile_pattern
from memql.mesh.routing import BLOCK, CORE_RULES, EVERYONE, STAY, Router, Rule, parse_rules, register_rule

CHANGES = ("created", "updated", "deleted")
FORWARDED: list[tuple[str, frozenset[str]]] = [
    *((f"graph.node.{action}.v1:cluster:node", EVERYONE) for action in CHANGES),
    *((f"graph.node.{action}.v1:cognition:utterance", EVERYONE) for action in CHANGES),
    *((f"graph.node.{action}.v1:planner:plan", EVERYONE) for action in CHANGES),
    ("cognition.response.audio", frozenset({"voice"})),
    ("voice.gate.directive", frozenset({"bff"})),
    ("cache.invalidate.v1:ops:job", EVERYONE),
    ("graph.node.created.v1:identity:user", EVERYONE),
    ("healing.precondition.missed", EVERYONE),
    ("authoring.promote.bundle", EVERYONE),
    ("authoring.demote.bundle", EVERYONE),
    ("providers.reload.openai", EVERYONE),
    *((f"graph.node.{action}.v1:worker:registration", EVERYONE) for action in CHANGES),
    *((f"graph.node.{action}.v1:workbench:workspace", EVERYONE) for action in CHANGES),
    *((f"graph.node.{action}.v1:platform:globalSecret", EVERYONE) for action in CHANGES),
    *((f"graph.node.{action}.v1:platform:partitionVariable", EVERYONE) for action in CHANGES),
    ("graph.node.created.v1:harness:plan", frozenset({"planner"})),
    ("graph.node.updated.v1:harness:step", frozenset({"planner"})),
    ("graph.node.created.v1:harness:observation", frozenset({"planner"})),
    ("graph.node.created.v1:agents:agent", frozenset({"cognition", "agent"})),
    ("router.budget.threshold", frozenset({"bff"})),
]
STAYING = [
    "graph.node.created.v1:airline:route",
    "graph.node.updated.v1:identity:user",
    "graph.node.deleted.v1:harness:plan",
    "graph.node.created.v1:harness:trace",
    "graph.node.created.v1:worker:invocation",
    "cognition.response.requested",
    "cache.invalidate.a.b",
    "orders.paid",
]
BLOCKED = [
    "automation.started",
    "automation.step.completed",
    "telemetry.x",
    "session.opened",
    "query.executed",
    "mesh.canary",
]


@pytest.mark.parametrize(("topic", "targets"), FORWARDED)
def test_what_the_tables_forward_goes_to_their_target(topic: str, targets: frozenset[str]) -> None:
    decision = Router().decide(topic)
    assert decision.forward
    assert decision.targets == targets
    assert decision.is_for("voice") is (not targets or "voice" in targets)


@pytest.mark.parametrize("topic", STAYING)
def test_what_no_rule_names_stays_but_is_not_blocked(topic: str) -> None:
    assert Router().decide(topic) == STAY


@pytest.mark.parametrize("topic", BLOCKED)
def test_what_is_blocked_stays(topic: str) -> None:
    assert Router().decide(topic) == BLOCK


def test_a_block_wins_over_every_forward_wherever_it_stands() -> None:
    router = Router([Rule("orders.#"), Rule("orders.secret.#", block=True)])
    assert router.decide("orders.paid").forward
    assert router.decide("orders.secret.paid") == BLOCK
    assert not Router([Rule("session.opened")]).decide("session.opened").forward


def test_the_first_matching_forward_decides() -> None:
    router = Router([Rule("orders.#", frozenset({"agent"})), Rule("orders.paid", frozenset({"voice"}))])
    assert router.decide("orders.paid").targets == {"agent"}


def test_a_registered_rule_counts_in_routers_made_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memql.mesh.routing._registered", [])
    before = Router()
    register_rule(Rule("invoices.#", frozenset({"planner"})))
    assert before.decide("invoices.paid") == STAY
    assert Router().decide("invoices.paid").is_for("planner")


def test_rules_of_a_setting_are_read() -> None:
    rules = parse_rules(" orders.# = all, invoices.*=agent+planner,x.#=block,")
    assert rules == (
        Rule("orders.#"),
        Rule("invoices.*", frozenset({"agent", "planner"})),
        Rule("x.#", block=True),
    )


@pytest.mark.parametrize("text", ["orders.#", "=all", "orders.#=", f"{'a' * 600}=all"])
def test_a_rule_that_is_none_is_named(text: str) -> None:
    with pytest.raises(MemqlError, match="MEMQL_MESH_ROUTES") as refused:
        parse_rules(text)
    assert refused.value.code is Code.CONFIG_INVALID


segments = st.sampled_from(["graph", "node", "created", "v1:cognition:x", "automation", "orders", "session", "cache"])


@given(st.lists(segments, min_size=1, max_size=5).map(".".join))
def test_deciding_is_blocks_first_then_first_match(topic: str) -> None:
    def matches(rule: Rule) -> bool:
        return compile_pattern(rule.pattern).matches(topic)

    decision = Router().decide(topic)
    if any(rule.block and matches(rule) for rule in CORE_RULES):
        assert decision == BLOCK
        return
    first = next((rule for rule in CORE_RULES if not rule.block and matches(rule)), None)
    assert decision.forward is (first is not None)
    assert first is None or decision.targets == first.targets
