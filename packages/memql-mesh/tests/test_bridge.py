"""Bridges in random meshes, without sockets: who sees which event, and how often."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.events import Bus, Event
from memql.mesh.bridge import Bridge
from memql.mesh.demand import Demand
from memql.mesh.options import Options
from memql.mesh.peers import Card
from memql.mesh.routing import Router, Rule
from memql.mesh.wire.records import Record, decode_batch, encode_batch

RULES = (Rule("all.#"), Rule("voice.#", frozenset({"voice"})), Rule("kept.#", block=True))


@dataclass(eq=False)
class Line:
    """One direction of a stream: records wait until the test delivers them."""

    peer: Card
    target: Node
    source: Node
    waiting: list[Record] = field(default_factory=list)

    def offer(self, record: Record) -> None:
        self.waiting.append(record)


class Board:
    def __init__(self) -> None:
        self.lines: dict[str, Any] = {}


class Node:
    def __init__(self, node_id: str, node_type: str) -> None:
        self.card = Card(id=node_id, type=node_type)
        self.bus = Bus()
        self.board = Board()
        self.demand = Demand(node_type)
        self.seen: Counter[str] = Counter()
        self.client_saw: Counter[str] = Counter()
        self.told: list[str] = []
        self.bridge = Bridge(
            self.card,
            self.bus,
            Router(RULES),
            self.demand,
            self.board,  # type: ignore[arg-type]
            Options(),
        )
        self.bridge.saw = lambda event_id, _: self.told.append(event_id)
        self.demand.changed = self.bridge.changed
        self.taps = [self.bus.tap(self.bridge.publish, remote=False), self.bus.tap(self._note)]
        for tap in self.taps:
            tap.__enter__()

    def _note(self, event: Event) -> None:
        (self.client_saw if event.demanded else self.seen)[event.id] += 1

    def connect(self, other: Node) -> None:
        self.board.lines = {**self.board.lines, other.card.id: Line(other.card, other, self)}
        other.board.lines = {**other.board.lines, self.card.id: Line(self.card, self, other)}


def run(nodes: Iterable[Node], chooser: random.Random) -> int:
    """Deliver everything, streams in random order; gives how many records travelled."""
    travelled = 0
    lines = [line for node in nodes for line in node.board.lines.values()]
    while busy := [line for line in lines if line.waiting]:
        line = chooser.choice(busy)
        batch, line.waiting = line.waiting[:3], line.waiting[3:]
        travelled += len(batch)
        back = line.target.board.lines[line.source.card.id]
        line.target.bridge.receive(back, decode_batch(encode_batch(batch)))
    return travelled


def mesh(*types: str) -> list[Node]:
    return [Node(f"{kind}-{number}", kind) for number, kind in enumerate(types)]


def star() -> list[Node]:
    hub, *rest = mesh("bff", "voice", "agent", "planner")
    for node in rest:
        hub.connect(node)
    return [hub, *rest]


def publish(node: Node, topic: str, event_id: str = "e1") -> None:
    node.bus.publish(Event(id=event_id, topic=topic, body={"n": 1}))


@pytest.mark.parametrize("origin", range(4))
def test_an_event_for_all_reaches_every_node_of_a_star_once(origin: int) -> None:
    nodes = star()
    publish(nodes[origin], "all.x")
    run(nodes, random.Random(1))
    assert [node.seen["e1"] for node in nodes] == [1, 1, 1, 1]


def test_an_event_for_one_type_crosses_the_hub_without_being_published_there() -> None:
    hub, voice, agent, planner = nodes = star()
    publish(agent, "voice.say")
    run(nodes, random.Random(1))
    assert [node.seen["e1"] for node in (hub, voice, agent, planner)] == [0, 1, 1, 0]


@pytest.mark.parametrize("topic", ["kept.x", "other.x"])
def test_what_is_blocked_or_named_by_no_rule_stays(topic: str) -> None:
    nodes = star()
    publish(nodes[0], topic)
    assert run(nodes, random.Random(1)) == 0


def test_what_came_from_elsewhere_is_not_sent_again() -> None:
    nodes = star()
    nodes[0].bus.publish(Event(id="e1", topic="all.x", body={}, origin="@log"))
    assert run(nodes, random.Random(1)) == 0


def test_an_event_that_nobody_may_forward_reaches_the_clients_that_ask_for_it_and_nobody_else() -> None:
    hub, voice, agent, planner = nodes = star()
    voice_line = hub.board.lines[voice.card.id]
    hub.demand.told(voice.card.id, "voice", Demand.saying({"other.#"}))
    agent.demand.told(hub.card.id, "bff", Demand.saying(hub.demand.for_peer(agent.card.id, "agent", frozenset())))
    assert voice_line.waiting == []
    publish(agent, "other.x")
    publish(agent, "unasked.x", "e2")
    run(nodes, random.Random(1))
    assert [node.client_saw["e1"] for node in nodes] == [1, 1, 0, 0]
    assert [node.seen["e1"] for node in nodes] == [0, 0, 1, 0]
    assert not any(node.client_saw["e2"] for node in nodes)
    assert planner.told == []


def test_a_blocked_event_does_not_follow_demand() -> None:
    hub, _, agent, _ = nodes = star()
    agent.demand.told(hub.card.id, "bff", Demand.saying({"#"}))
    publish(agent, "kept.x")
    assert run(nodes, random.Random(1)) == 0


def test_the_log_follower_is_told_of_what_is_here() -> None:
    nodes = star()
    nodes[1].bus.publish(Event(id="g:7:created", topic="all.x", body={}, log_seq=7))
    publish(nodes[1], "all.x")
    run(nodes, random.Random(1))
    assert all(node.told == ["g:7:created"] for node in nodes)


def test_internal_talk_reaches_its_taker_and_no_bus() -> None:
    hub, voice, *_ = star()
    got: list[Record] = []
    hub.bridge.internal["mesh.test"] = lambda link, record: got.append(record)
    line = voice.board.lines[hub.card.id]
    voice.bridge.tell(line, "mesh.test", b"{}", "i1")
    voice.bridge.tell(line, "mesh.unknown", b"{}", "i2")
    run([hub, voice], random.Random(1))
    assert [record.id for record in got] == ["i1"]
    assert not hub.seen


def test_an_event_without_a_json_form_stays_and_is_counted() -> None:
    nodes = star()
    nodes[0].bus.publish(Event(id="e1", topic="all.x", body={"x": object()}))
    assert run(nodes, random.Random(1)) == 0


@st.composite
def topologies(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int]]]:
    types = draw(st.lists(st.sampled_from(["bff", "voice", "agent"]), min_size=2, max_size=7))
    pairs = list(itertools.combinations(range(len(types)), 2))
    return types, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=len(pairs)))


def reach(start: int, edges: list[tuple[int, int]], hops: int) -> set[int]:
    found = {start}
    for _ in range(hops):
        found |= {b for edge in edges for a, b in (edge, edge[::-1]) if a in found}
    return found


@settings(max_examples=150, deadline=None)
@given(topologies(), st.integers(0, 2**16))
def test_in_any_mesh_each_node_within_reach_sees_an_event_exactly_once(
    topology: tuple[list[str], list[tuple[int, int]]], seed: int
) -> None:
    types, edges = topology
    nodes = mesh(*types)
    for a, b in edges:
        nodes[a].connect(nodes[b])
    publish(nodes[0], "all.x")
    travelled = run(nodes, random.Random(seed))
    near = reach(0, edges, Options().ttl)
    assert [node.seen["e1"] for node in nodes] == [int(number in near) for number in range(len(nodes))]
    # A copy is handed on again only when it came a shorter way, so a stream carries few of them.
    assert travelled <= 2 * len(edges) * Options().ttl
