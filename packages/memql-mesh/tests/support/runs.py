"""How often the automations of ``tree_runs`` ran, as the nodes of a fleet and the database tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio
from fleet import Fleet

from memql.graph.database import Database

__all__ = ["Runs", "allowed_repetitions", "firings", "guard", "leaders", "runs_of", "wait_until_run"]

_ROWS = """
SELECT payload ->> 'about', count(*) FROM memory_nodes
WHERE concept = 'v1:fleet:run' AND payload ->> 'automation' = %s GROUP BY 1
"""
_FIRED = "SELECT count(*), extract(epoch FROM max(scheduled_at) - min(scheduled_at))::int FROM cron_firings"
_REPEATING = ("unguarded", "take_overs", "attempts_repeated")
_OUTCOMES = ("claimed", "duplicates_prevented", *_REPEATING, "claims_lost", "cron_fired")


@dataclass(frozen=True)
class Runs:
    """The runs of one automation, by what they were about: how often its host code was called on any node, and how
    many rows its effect has."""

    calls: Counter[str]
    rows: Counter[str]

    @property
    def doubled(self) -> int:
        """How many were called or had their effect more than once."""
        return sum(count > 1 for count in self.calls.values()) + sum(count > 1 for count in self.rows.values())


async def runs_of(fleet: Fleet, database: Database, automation: str) -> Runs:
    """What an automation has done until now."""
    calls: Counter[str] = Counter()
    for node in fleet.nodes.values():
        calls += node.runs(automation)
    return Runs(calls, Counter(dict(await database.fetch(_ROWS, (automation,)))))


async def wait_until_run(fleet: Fleet, database: Database, automation: str, times: int, seconds: float) -> Runs:
    """Wait until an automation has had so many effects, at most so long; what it has done then."""
    runs = await runs_of(fleet, database, automation)
    with anyio.move_on_after(seconds):
        while len(runs.rows) < times:
            await anyio.sleep(0.2)
            runs = await runs_of(fleet, database, automation)
    return runs


async def firings(database: Database) -> tuple[int, int]:
    """How many instants of the schedule have fired, and how many there were from the first to the last of them."""
    row = await database.fetch_one(_FIRED)
    assert row is not None
    return int(row[0]), int(row[1] or 0) + 1


async def leaders(fleet: Fleet) -> int:
    """How many nodes say that they fire schedules now."""
    found = [await fleet.metric(node, "memql_cron_leader") for node in fleet.nodes.values()]
    return int(sum(found))


async def guard(fleet: Fleet, node_ids: Sequence[str]) -> list[dict[str, object]]:
    """What the guards of these nodes have decided, a row each."""
    return [await _guard(fleet, node_id) for node_id in node_ids]


def allowed_repetitions(decided: Sequence[Mapping[str, object]]) -> int:
    """How many calls of host code beyond one for each run the guards account for: runs that went ahead without a claim,
    runs that were carried on after their process lost the database, and further attempts after it went away."""
    return sum(int(str(row[outcome])) for row in decided for outcome in _REPEATING)


async def _guard(fleet: Fleet, node_id: str) -> dict[str, object]:
    counts: dict[str, object] = {"node": node_id}
    for outcome in _OUTCOMES:
        name = f'memql_automation_guard_total{{outcome="{outcome}"}}'
        counts[outcome] = int(await fleet.metric(fleet.nodes[node_id], name))
    return counts
