"""Who dials whom, whom one hangs on, and what seeds say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.mesh.discovery.topology import (
    MESH_TYPES,
    NodeRow,
    Seed,
    choose_parent,
    dials,
    parse_seeds,
    wanted_rows,
)

DIALED = {
    "bff": {"voice", "agent", "cognition", "planner", "workbench"},
    "cognition": {"agent"},
    "planner": {"agent"},
    "agent": set(),
    "voice": set(),
    "workbench": set(),
    "identity": set(),
}


def row(node_id: str, node_type: str = "bff", health: str = "healthy", age: float = 1, address: str = "") -> NodeRow:
    return NodeRow(id=node_id, type=node_type, address=address or f"{node_id}:1", health=health, age=age)


@pytest.mark.parametrize("own", sorted(DIALED))
def test_each_type_dials_those_of_the_table(own: str) -> None:
    others = MESH_TYPES | {"identity"}
    assert {other for other in others - {own} if dials(own, "b", other, "a")} == DIALED[own]


def test_agents_dial_workbenches_where_those_are_remote() -> None:
    assert dials("agent", "a", "workbench", "b", workbench_remote=True)
    assert not dials("agent", "a", "workbench", "b")


@pytest.mark.parametrize("kind", ["bff", "agent"])
def test_of_two_of_a_kind_the_lower_id_dials(kind: str) -> None:
    assert dials(kind, "a", kind, "b")
    assert not dials(kind, "b", kind, "a")


@pytest.mark.parametrize("kind", ["voice", "cognition", "planner", "workbench"])
def test_other_kinds_do_not_dial_their_own(kind: str) -> None:
    assert not dials(kind, "a", kind, "b")


@given(
    st.lists(st.tuples(st.sampled_from(sorted(MESH_TYPES)), st.uuids().map(str)), min_size=2, max_size=8, unique=True)
)
def test_no_two_nodes_both_dial_each_other(nodes: list[tuple[str, str]]) -> None:
    for (kind, one), (other_kind, other) in itertools.combinations(nodes, 2):
        both = dials(kind, one, other_kind, other), dials(other_kind, other, kind, one)
        assert both != (True, True)


def test_rows_that_are_gone_without_an_address_or_oneself_are_not_dialed() -> None:
    rows = [
        row("voice-1", "voice"),
        row("voice-2", "voice", health="offline"),
        row("voice-3", "voice", health="stopped"),
        row("voice-4", "voice", health="connecting"),
        row("agent-1", "agent", health="draining"),
        NodeRow(id="agent-2", type="agent", address="", health="healthy", age=1),
        row("bff-1"),
        row("bff-2"),
        row("identity-1", "identity"),
    ]
    assert set(wanted_rows("bff", "bff-1", rows)) == {"voice-1:1", "voice-4:1", "agent-1:1", "bff-2:1"}


def test_a_parent_is_able_fresh_and_rather_a_hub() -> None:
    rows = [
        row("agent-1", "agent"),
        row("bff-1", health="draining"),
        row("bff-2", age=100),
        row("me", "voice"),
        row("bff-3"),
    ]
    chosen = choose_parent("voice", "me", rows, 20)
    assert chosen is not None
    assert chosen.id == "bff-3"
    without_hub = choose_parent("voice", "me", rows[:2], 20)
    assert without_hub is not None
    assert without_hub.id == "agent-1"


def test_the_first_node_and_every_hub_is_a_root() -> None:
    assert choose_parent("voice", "me", [row("me", "voice")], 20) is None
    assert choose_parent("bff", "bff-1", [row("bff-2")], 20) is None


def test_a_parent_that_did_not_answer_is_passed_over() -> None:
    rows = [row("bff-1"), row("bff-2")]
    first = choose_parent("voice", "me", rows, 20)
    assert first is not None
    second = choose_parent("voice", "me", rows, 20, but={first.address})
    assert second is not None
    assert second.id != first.id


def test_many_nodes_spread_over_the_hubs_and_each_stays_with_its_own() -> None:
    rows = [row("bff-1"), row("bff-2"), row("bff-3")]
    parents = [choose_parent("agent", f"agent-{number}", rows, 20) for number in range(90)]
    counts = [sum(parent is not None and parent.id == hub.id for parent in parents) for hub in rows]
    assert min(counts) > 15
    again = choose_parent("agent", "agent-5", list(reversed(rows)), 20)
    assert again == parents[5]


def test_seeds_are_read_and_what_is_none_is_named() -> None:
    seeds, problems = parse_seeds(
        "voice=voice:50059, agent=10.0.0.7:50055,agent=[::1]:9,voice=voice:50059,x=y:1,bff=b,=,"
    )
    assert seeds == (Seed("voice", "voice", 50059), Seed("agent", "10.0.0.7", 50055), Seed("agent", "::1", 9))
    assert [problem.partition(" ")[0] for problem in problems] == ["'voice=voice:50059'", "'x=y:1'", "'bff=b':", "'='"]


@given(st.text(max_size=60))
def test_any_text_gives_seeds_and_problems_and_nothing_else(text: str) -> None:
    seeds, problems = parse_seeds(text)
    assert len(seeds) + len(problems) == sum(bool(part.strip()) for part in text.split(","))
