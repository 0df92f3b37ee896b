from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from memql.mesh.cluster.colours import colour_of
from memql.mesh.cluster.probing import Sight, samples
from memql.mesh.cluster.processes import identify
from memql.mesh.cluster.state import NodePhase, NodeState
from memql.mesh.cluster.table import COLUMNS, Row, describe_unready, rich_table, span

WELL = Sight(health="ok", readiness="ready", streams=2, links=5, lag=0.04, runs=7, leads=True)


def row(
    sight: Sight, phase: NodePhase = "ready", *, alive: bool = True, started_at: float = 100.0, wait: float = 0.0
) -> Row:
    state = NodeState(
        id="agent-1",
        role="agent",
        grpc=1,
        http=2,
        service=3,
        phase=phase,
        process=identify(os.getpid()),
        started_at=started_at,
        next_start=200.0 + wait,
        restarts=4,
    )
    return Row(state=state, sight=sight, alive=alive, now=200.0)


def test_a_node_that_is_well_fills_every_column() -> None:
    cells = dict(zip(COLUMNS, row(WELL).cells(), strict=True))
    assert cells == {
        "NODE": "agent-1",
        "ROLE": "agent",
        "ADDRESS": "127.0.0.1:1",
        "HEALTH": "ok",
        "LIFECYCLE": "ready",
        "STREAMS": "2",
        "LINKS": "5",
        "LAG": "0.0 s",
        "RUNS": "7",
        "LEADER": "yes",
        "RESTARTS": "4",
        "UPTIME": "1 m 40 s",
    }


@pytest.mark.parametrize(
    ("shown", "health", "lifecycle"),
    [
        (row(Sight(), "starting"), "no answer", "starting"),
        (row(Sight(health="ok", readiness="starting"), "starting"), "ok", "starting"),
        (row(Sight(health="ok", readiness="unready", missing=("a", "b")), "unready"), "unready: a, b", "ready"),
        (row(Sight(health="draining", readiness="draining")), "draining", "draining"),
        (row(Sight(health="degraded", readiness="ready")), "degraded", "ready"),
        (row(Sight(), "stopping"), "no answer", "stopping"),
        (row(Sight(), "waiting", alive=False, wait=8), "down", "waiting 8 s"),
        (row(Sight(), "waiting", alive=False), "down", "waiting"),
        (row(Sight(), "planned", alive=False, started_at=0), "down", "planned"),
        (row(Sight(), "stopped", alive=False), "down", "stopped"),
        (row(Sight(), "ready", alive=False), "down", "ended"),
    ],
)
def test_how_a_node_is_follows_from_what_it_says_and_what_its_keeper_knows(
    shown: Row, health: str, lifecycle: str
) -> None:
    assert (shown.health, shown.lifecycle) == (health, lifecycle)
    assert not shown.is_ready
    assert describe_unready([row(WELL), shown]).startswith(f"agent-1 ({health}, {lifecycle}")


def test_a_program_gets_numbers_and_words_of_a_fixed_set() -> None:
    shown = row(Sight(), "waiting", alive=False, wait=8).to_json()
    assert (shown["health"], shown["lifecycle"], shown["ready"], shown["pid"]) == ("down", "waiting", False, None)
    assert row(WELL).to_json()["uptimeSeconds"] == 100.0


@pytest.mark.parametrize("width", [200, 120, 100, 80])
def test_a_line_fits_the_terminal_by_leaving_columns_out(width: int) -> None:
    out = io.StringIO()
    rows = [row(WELL), row(Sight(), "waiting", alive=False, wait=30)]
    Console(file=out, width=width).print(rich_table(rows, width))
    lines = out.getvalue().rstrip().splitlines()
    assert len(lines) == 4
    for column in ("NODE", "ADDRESS", "HEALTH", "LIFECYCLE", "UPTIME"):
        assert column in lines[0]
    assert ("ROLE" in lines[0]) is (width >= 120)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 m 0 s"), (3725, "1 h 2 m"), (90_000, "1 d 1 h"), (86_400, "1 d 0 h")],
)
def test_spans_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@given(st.floats(0, 1e9))
def test_spans_always_say_something(seconds: float) -> None:
    assert 1 <= span(seconds).count(" ") <= 3


def test_samples_are_those_of_the_metric_and_the_labels() -> None:
    text = '# HELP a_b x\na_b{side="dialed",type="x"} 2.0\na_b{side="accepted"} 3.0\na_b_total 9\na_b 1e0\n'
    assert list(samples(text, "a_b")) == [2.0, 3.0, 1.0]
    assert list(samples(text, "a_b", 'side="dialed"')) == [2.0]
    assert list(samples(text, "a")) == []


def test_each_node_keeps_its_colour_and_replicas_are_told_apart() -> None:
    roles = ("bff", "identity", "cognition", "agent", "planner", "voice", "workbench")
    first = [colour_of(f"{role}-1") for role in roles]
    assert len(set(first)) == len(roles)
    assert first == [colour_of(f"{role}-1") for role in roles]
    assert len({colour_of(f"agent-{number}") for number in (1, 2, 3, 4)}) == 4
    assert colour_of("tailor-1").startswith("color(")
    assert colour_of("supervisor") not in first
