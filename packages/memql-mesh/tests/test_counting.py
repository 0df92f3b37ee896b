"""What ``/metrics`` makes of the numbers that the parts of the mesh keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY

from memql.mesh.counting import Counting
from memql.mesh.links.outbox import Outbox
from memql.mesh.options import Options
from memql.mesh.peers import Card, Peers
from memql.mesh.wire.records import Record


class Board(list[Any]):
    """The streams of a node, and who is told of them."""

    def __init__(self) -> None:
        self.attached: list[Any] = []
        self.detached: list[Any] = []


@dataclass(eq=False)
class Stream:
    """One stream, as far as it is counted."""

    outbox: Outbox = field(default_factory=lambda: Outbox("b", 2))
    dialed: bool = True
    peer: Card = field(default_factory=lambda: Card(id="b", type="agent"))


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def test_what_is_dropped_is_counted_once_and_not_forgotten_with_its_stream() -> None:
    stream, board = Stream(), Board()
    bridge: Any = SimpleNamespace(sent=0, relayed=0, duplicates=0)
    counting = Counting(bridge, board, Peers("a", Options()))  # type: ignore[arg-type]
    before = sample("memql_mesh_events_dropped_total")
    board.append(stream)
    for listener in board.attached:
        listener(stream)
    for number in range(5):
        stream.outbox.offer(Record(str(number), "t", 200, 0, "a", 3, 1, None, b"{}"))
    counting.count()
    counting.count()
    assert sample("memql_mesh_events_dropped_total") == before + 3
    assert sample("memql_mesh_outbox_waiting") == 2
    stream.outbox.offer(Record("6", "t", 200, 0, "a", 3, 1, None, b"{}"))
    board.remove(stream)
    for listener in board.detached:
        listener(stream)
    counting.count()
    assert sample("memql_mesh_events_dropped_total") == before + 4
