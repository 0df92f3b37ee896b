"""The peer table: who may say what about whom."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from memql.mesh.options import Options
from memql.mesh.peers import MOST_PEERS, Card, Change, Health, Peers

OPTIONS = Options()


@dataclass
class Table:
    now: float = 100.0
    changes: list[tuple[str, Health | None, Health | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peers = Peers("me", OPTIONS, self._note, clock=lambda: self.now)

    def _note(self, change: Change) -> None:
        self.changes.append((change.peer.id, change.before, change.after))

    def health(self, node_id: str) -> Health | None:
        peer = self.peers.get(node_id)
        return None if peer is None else peer.health


def card(node_id: str, incarnation: str = "1") -> Card:
    return Card(id=node_id, type="agent", incarnation=incarnation)


def test_a_silent_peer_is_degraded_and_then_gone() -> None:
    table = Table()
    table.peers.observe(card("a"))
    for silent, expected in [(14.9, Health.HEALTHY), (15, Health.DEGRADED), (24.9, Health.DEGRADED), (25, None)]:
        table.now = 100 + silent
        table.peers.sweep()
        assert table.health("a") is expected
    assert table.changes == [
        ("a", None, Health.HEALTHY),
        ("a", Health.HEALTHY, Health.DEGRADED),
        ("a", Health.DEGRADED, None),
    ]


def test_any_frame_lifts_a_degraded_peer() -> None:
    table = Table()
    table.peers.observe(card("a"))
    table.now += 15
    table.peers.sweep()
    table.peers.heard(card("a"))
    assert table.health("a") is Health.HEALTHY


@pytest.mark.parametrize("leaving", [Health.DRAINING, Health.STOPPED])
def test_a_peer_that_says_it_leaves_is_not_lifted_by_its_frames(leaving: Health) -> None:
    table = Table()
    table.peers.observe(card("a"))
    table.peers.reported("a", leaving)
    table.peers.heard(card("a"))
    table.peers.observe(card("a"))
    assert table.health("a") is leaving
    table.peers.observe(card("a", incarnation="2"))
    assert table.health("a") is Health.HEALTHY


def test_hearsay_does_not_touch_what_was_observed() -> None:
    table = Table()
    table.peers.observe(card("a"))
    table.peers.introduced([(card("a"), Health.OFFLINE)])
    table.peers.dismissed(["a"])
    assert table.health("a") is Health.HEALTHY


def test_hearsay_stays_while_it_is_renewed() -> None:
    table = Table()
    table.peers.introduced([(card("a"), Health.HEALTHY)])
    table.now += 59
    table.peers.introduced([(card("a"), Health.HEALTHY)])
    table.now += 59
    table.peers.sweep()
    assert table.health("a") is Health.HEALTHY
    table.now += 1
    table.peers.sweep()
    assert table.health("a") is None


def test_a_dismissed_hearsay_peer_is_gone_and_oneself_is_never_listed() -> None:
    table = Table()
    table.peers.introduced([(card("a"), Health.HEALTHY), (card("me"), Health.HEALTHY)])
    assert [peer.id for peer in table.peers] == ["a"]
    table.peers.dismissed(["a", "me", "b"])
    assert not list(table.peers)


def test_a_peer_that_was_given_up_for_its_silence_is_back_with_its_next_frame() -> None:
    table = Table()
    table.peers.observe(card("a"))
    table.now += 30
    table.peers.sweep()
    assert table.health("a") is None
    table.peers.heard(card("a"))
    assert table.health("a") is Health.HEALTHY


def test_a_heartbeat_brings_load_and_lag() -> None:
    table = Table()
    table.peers.observe(card("a"))
    table.peers.reported("a", Health.HEALTHY, load=3, behind=1.5)
    peer = table.peers.get("a")
    assert peer is not None
    assert (peer.load, peer.behind) == (3, 1.5)


def test_no_more_peers_are_known_by_hearsay_than_memory_allows_and_seen_ones_always() -> None:
    table = Table()
    table.peers.introduced((card(f"n{number}"), Health.HEALTHY) for number in range(MOST_PEERS + 10))
    assert len(table.peers) == MOST_PEERS
    table.peers.observe(card("a"))
    assert table.health("a") is Health.HEALTHY


IDS = st.sampled_from(["me", "a", "b"])


class PeerMachine(RuleBasedStateMachine):
    """Whatever happens, an observed peer leaves only by its own silence, and every change is told exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.shown: dict[str, Health] = {}

    @rule(node_id=st.sampled_from(["a", "b"]), incarnation=st.sampled_from(["1", "2"]))
    def observe(self, node_id: str, incarnation: str) -> None:
        self.table.peers.observe(card(node_id, incarnation))

    @rule(node_id=st.sampled_from(["a", "b"]))
    def heard(self, node_id: str) -> None:
        self.table.peers.heard(card(node_id))
        peer = self.table.peers.get(node_id)
        assert peer is not None
        assert peer.observed

    @rule(node_id=IDS, health=st.sampled_from(list(Health)))
    def reported(self, node_id: str, health: Health) -> None:
        self.table.peers.reported(node_id, health)

    @rule(node_id=IDS, health=st.sampled_from(list(Health)))
    def introduced(self, node_id: str, health: Health) -> None:
        peer = self.table.peers.get(node_id)
        before = None if peer is None else (peer.observed, peer.health)
        self.table.peers.introduced([(card(node_id), health)])
        if before is not None and before[0]:
            assert self.table.health(node_id) is before[1]

    @rule(node_id=IDS)
    def dismissed(self, node_id: str) -> None:
        peer = self.table.peers.get(node_id)
        self.table.peers.dismissed([node_id])
        assert (self.table.peers.get(node_id) is not None) is (peer is not None and peer.observed)

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.table.now += seconds
        self.table.peers.sweep()

    @invariant()
    def changes_tell_the_whole_story(self) -> None:
        for node_id, before, after in self.table.changes:
            assert self.shown.get(node_id) is before
            if after is None:
                del self.shown[node_id]
            else:
                self.shown[node_id] = after
        self.table.changes.clear()
        assert self.shown == {peer.id: peer.health for peer in self.table.peers}

    @invariant()
    def one_is_not_ones_own_peer(self) -> None:
        assert self.table.peers.get("me") is None


def test_whatever_happens_the_table_is_right_and_its_changes_tell_all() -> None:
    run_state_machine_as_test(PeerMachine, settings=settings(max_examples=60, deadline=None))
