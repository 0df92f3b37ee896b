"""The table of nodes: what its cells say, for a terminal, a pipe and a program."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memql.mesh.cluster.colours import colour_of
from memql.mesh.cluster.plan import LOOPBACK
from memql.mesh.cluster.probing import Sight
from memql.mesh.cluster.state import NodeState

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["COLUMNS", "Row", "describe_unready", "rich_table", "rows_of", "span"]

COLUMNS: Final = (
    "NODE",
    "ROLE",
    "ADDRESS",
    "HEALTH",
    "LIFECYCLE",
    "STREAMS",
    "LINKS",
    "LAG",
    "RUNS",
    "LEADER",
    "RESTARTS",
    "UPTIME",
)
_DISPENSABLE: Final = ("ROLE", "LINKS", "RESTARTS", "LAG", "RUNS", "STREAMS", "LEADER")
"""What a narrow terminal leaves out, in this order."""
_BETWEEN: Final = 3
_NUMBERS: Final = frozenset({"STREAMS", "LINKS", "LAG", "RUNS", "RESTARTS", "UPTIME"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One node, as the supervisor keeps it and as it shows itself. ``alive`` tells whether its process runs, ``now`` is
    seconds since 1970."""

    state: NodeState
    sight: Sight
    alive: bool
    now: float

    @property
    def is_ready(self) -> bool:
        """Whether it works."""
        return self.alive and self.sight.readiness == "ready" and self.sight.health == "ok"

    @property
    def health(self) -> str:
        """``ok``, or what is wrong with it."""
        if not self.alive:
            return "down"
        if not self.sight.health:
            return "no answer"
        if self.sight.health == "ok" and self.sight.missing:
            return f"unready: {', '.join(self.sight.missing)}"
        return self.sight.health

    @property
    def lifecycle(self) -> str:
        """``starting``, ``ready``, ``draining``; ``waiting`` before the next start, with how long; ``stopped``."""
        state, readiness = self.state, self.sight.readiness
        if state.phase == "waiting":
            left = state.next_start - self.now
            return f"waiting {left:.0f} s" if left >= 1 else "waiting"
        if not self.alive:
            return state.phase if state.phase in {"planned", "stopped"} else "ended"
        if readiness in {"ready", "draining"}:
            return readiness
        return "ready" if state.phase in {"ready", "unready"} else state.phase

    @property
    def uptime(self) -> float | None:
        """Seconds since its process was started."""
        return self.now - self.state.started_at if self.alive and self.state.started_at else None

    def cells(self) -> tuple[str, ...]:
        """What stands in the columns."""
        sight = self.sight
        return (
            self.state.id,
            self.state.role,
            f"{LOOPBACK}:{self.state.grpc}",
            self.health,
            self.lifecycle,
            _shown(sight.streams),
            _shown(sight.links),
            "" if sight.lag is None else f"{sight.lag:.1f} s",
            _shown(sight.runs),
            "yes" if sight.leads else "",
            str(self.state.restarts),
            "" if self.uptime is None else span(self.uptime),
        )

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        state, sight = self.state, self.sight
        return {
            "id": state.id,
            "role": state.role,
            "address": f"{LOOPBACK}:{state.grpc}",
            "http": f"{LOOPBACK}:{state.http}",
            "nodeService": f"{LOOPBACK}:{state.service}" if state.service else None,
            "health": sight.health or ("no answer" if self.alive else "down"),
            "lifecycle": self.lifecycle.partition(" ")[0],
            "ready": self.is_ready,
            "missing": list(sight.missing),
            "streams": sight.streams,
            "links": sight.links,
            "lagSeconds": sight.lag,
            "runs": sight.runs,
            "leader": sight.leads,
            "restarts": state.restarts,
            "lastEnding": state.ending or None,
            "uptimeSeconds": None if self.uptime is None else round(self.uptime, 1),
            "pid": state.process.pid if state.process is not None and self.alive else None,
        }


def rows_of(states: Sequence[NodeState], sights: Sequence[Sight]) -> list[Row]:
    """The rows, as of now."""
    now = time.time()
    return [
        Row(state=state, sight=sight, alive=state.process is not None and state.process.alive, now=now)
        for state, sight in zip(states, sights, strict=True)
    ]


def describe_unready(rows: Sequence[Row]) -> str:
    """What each node that is not ready lacks; empty when all are."""
    return "; ".join(_lack(row) for row in rows if not row.is_ready)


def _lack(row: Row) -> str:
    ending = f"; the last process {row.state.ending}" if row.state.ending else ""
    return f"{row.state.id} ({row.health}, {row.lifecycle}{ending})"


def rich_table(rows: Sequence[Row], width: int) -> Table:
    """The table for a terminal of so many columns; on a narrow one, without what can best be done without."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows]
    shown = _fitting(cells, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in shown:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold")
    for row, texts in zip(rows, cells, strict=True):
        styles = {"NODE": colour_of(row.state.id), "HEALTH": _health_style(row), "LIFECYCLE": _lifecycle_style(row)}
        table.add_row(*(Text(texts[column], style=styles.get(column, "")) for column in shown))
    return table


def _fitting(cells: Sequence[Mapping[str, str]], width: int) -> list[str]:
    shown = list(COLUMNS)
    needed = {column: max([len(column), *(len(row[column]) for row in cells)]) + _BETWEEN for column in COLUMNS}
    for column in _DISPENSABLE:
        if sum(needed[one] for one in shown) - _BETWEEN > width:
            shown.remove(column)
    return shown


def _health_style(row: Row) -> str:
    if row.health == "ok":
        return "green"
    return "red" if row.health == "down" else "yellow"


def _lifecycle_style(row: Row) -> str:
    return "" if row.lifecycle == "ready" else "red" if row.lifecycle == "ended" else "yellow"


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = int(seconds)
    parts = (("d", whole // 86_400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60))
    largest = next((index for index, (_, count) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for unit, count in parts[largest : largest + 2])


def _shown(number: int | None) -> str:
    return "" if number is None else str(number)
