"""Who dials whom, as pure decisions (spec "Topology")."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from memql.config.value_types import Address, parse_address

__all__ = ["ABLE", "MESH_TYPES", "NodeRow", "Seed", "choose_parent", "dials", "parse_seeds", "sweeps", "wanted_rows"]

MESH_TYPES: Final = frozenset({"bff", "voice", "agent", "cognition", "planner", "workbench"})
"""The types of nodes that join the mesh; identity issues their credentials and does not."""

_WORKERS: Final = MESH_TYPES - {"bff"}
_DIALS: Final = {
    "bff": _WORKERS,
    "cognition": frozenset({"agent"}),
    "planner": frozenset({"agent"}),
}
_AMONG_THEMSELVES: Final = frozenset({"bff", "agent"})
"""Types whose nodes dial one another; of two, the one with the lower id."""

_ABSENT: Final = frozenset({"offline", "stopped"})
ABLE: Final = frozenset({"healthy", "degraded"})
"""How a node is that can be worked with, as its row says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node as the database knows it. ``age`` is seconds since it last showed that it lives."""

    id: str
    type: str
    address: str
    health: str
    age: float
    incarnation: str = ""
    version: str = ""
    flavor: str = ""

    def is_fresh(self, grace: float) -> bool:
        """Whether it showed that it lives within ``grace`` seconds."""
        return self.age < grace


@dataclass(frozen=True, slots=True)
class Seed:
    """A node, or several behind one name, that the environment names."""

    type: str
    host: str
    port: int


def parse_seeds(text: str) -> tuple[tuple[Seed, ...], tuple[str, ...]]:
    """The seeds of ``type=host:port,...``, and what is wrong with the entries that are none."""
    seeds: list[Seed] = []
    problems: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        if not entry:
            continue
        seed = _parse_seed(entry)
        if isinstance(seed, str):
            problems.append(seed)
        elif seed in seeds:
            problems.append(f"{entry!r} is there twice")
        else:
            seeds.append(seed)
    return tuple(seeds), tuple(problems)


def _parse_seed(entry: str) -> Seed | str:
    node_type, sign, where = (part.strip() for part in entry.partition("="))
    if not sign or node_type not in MESH_TYPES:
        return f"{entry!r} does not begin with a type and '='; types are {', '.join(sorted(MESH_TYPES))}"
    try:
        address = parse_address(where)
    except ValueError as error:
        return f"{entry!r}: {error}"
    assert isinstance(address, Address)
    if not address.host or not address.port:
        return f"{entry!r} needs a host and a port"
    return Seed(node_type, address.host, address.port)


def dials(own_type: str, own_id: str, other_type: str, other_id: str, *, workbench_remote: bool = False) -> bool:
    """Whether a node keeps a stream of its own to another.

    :param other_id: empty when it is not known yet; then types alone decide, and two of a kind may dial each other.
    :param workbench_remote: whether agents use workbench nodes.
    """
    if own_type == other_type:
        return own_type in _AMONG_THEMSELVES and (not other_id or own_id < other_id)
    if own_type == "agent" and other_type == "workbench":
        return workbench_remote
    return other_type in _DIALS.get(own_type, ())


def wanted_rows(
    own_type: str, own_id: str, rows: Iterable[NodeRow], *, workbench_remote: bool = False
) -> dict[str, NodeRow]:
    """By address, the nodes of the database that a node dials."""
    return {
        row.address: row
        for row in rows
        if row.address
        and row.id != own_id
        and row.health not in _ABSENT
        and dials(own_type, own_id, row.type, row.id, workbench_remote=workbench_remote)
    }


def choose_parent(
    own_type: str, own_id: str, rows: Iterable[NodeRow], grace: float, *, but: Collection[str] = ()
) -> NodeRow | None:
    """The node to hang on: able and fresh, hubs before others, and of several hubs each the parent of about as many.
    None makes this node a root.

    :param grace: seconds since it showed that it lives, at most.
    :param but: addresses that were tried and did not answer.
    """
    if own_type in {"bff", "identity"}:
        return None
    able = [
        row
        for row in rows
        if row.id != own_id
        and row.address
        and row.address not in but
        and row.health in ABLE
        and row.type in MESH_TYPES
        and row.is_fresh(grace)
    ]
    hubs = [row for row in able if row.type == "bff"]
    return min(hubs or able, key=lambda row: _affinity(own_id, row.id), default=None)


def sweeps(own_id: str, rows: Iterable[NodeRow], grace: float) -> bool:
    """Whether a node keeps the rows of those true that are gone: of all that live, the one with the lowest id.

    :param grace: seconds since a node showed that it lives, at most.
    """
    return own_id == min((row.id for row in rows if row.health in ABLE and row.is_fresh(grace)), default="")


def _affinity(own_id: str, other_id: str) -> bytes:
    return hashlib.sha256(f"{own_id}\x1f{other_id}".encode()).digest()
