"""Which nodes a cluster has, and where each of them listens."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from memql.errors import Code, MemqlError
from memql.mesh.cluster.ports import PortSource

__all__ = [
    "ENTRY",
    "IDENTITY",
    "LOOPBACK",
    "MOST_REPLICAS",
    "NodePlan",
    "Plan",
    "choose_roles",
    "make_plan",
    "parse_replicas",
]

IDENTITY: Final = "identity"
ENTRY: Final = "bff"
MOST_REPLICAS: Final = 9
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node. The ports are those of MemqlService, of HTTP, and of NodeService; ``service`` is 0 where there is no
    NodeService."""

    id: str
    role: str
    number: int
    grpc: int
    http: int
    service: int

    def ports(self) -> Iterable[tuple[int, str]]:
        """Each port, and what listens there."""
        named = ((self.grpc, "MemqlService"), (self.http, "HTTP"), (self.service, "NodeService"))
        return ((port, what) for port, what in named if port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A cluster: its nodes, identity first, and whether they speak TLS."""

    nodes: tuple[NodePlan, ...]
    tls: bool = False

    def of(self, role: str) -> tuple[NodePlan, ...]:
        """The nodes of a role."""
        return tuple(node for node in self.nodes if node.role == role)

    @property
    def entries(self) -> tuple[NodePlan, ...]:
        """Where clients connect: the bffs, else whatever there is besides identity."""
        return self.of(ENTRY) or tuple(node for node in self.nodes if node.role != IDENTITY) or self.nodes

    def grpc_address(self, node: NodePlan) -> str:
        """What a client of a node is given."""
        return f"{'grpcs' if self.tls else 'grpc'}://{LOOPBACK}:{node.grpc}"

    def http_url(self, node: NodePlan) -> str:
        """The base of a node's HTTP routes."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{node.http}"


def choose_roles(installed: Collection[str], only: Sequence[str]) -> list[str]:
    """The roles to run: all that are installed, or the wanted ones; identity, which issues the others' credentials, is
    always among them and first.

    :param only: role names, each text possibly several with commas between them.
    :raises MemqlError: ``CONFIG_INVALID`` for a role that is not installed here.
    """
    wanted = [name.strip() for text in only for name in text.split(",") if name.strip()] or sorted(installed)
    for role in (*wanted, IDENTITY):
        if role not in installed:
            raise _not_installed(role, installed)
    order = (IDENTITY, ENTRY)
    return [*order[: 1 + (ENTRY in wanted)], *sorted(set(wanted) - set(order))]


def parse_replicas(texts: Sequence[str], roles: Collection[str]) -> dict[str, int]:
    """How many nodes each role gets: one, unless ``ROLE=N`` says otherwise for one of them, or ``N`` for all.

    :param texts: each possibly several with commas between them; later ones win.
    :raises MemqlError: ``INVALID_ARGUMENT`` for anything else, for a role that does not run, and for a number that is
        not from 1 to 9.
    """
    found = dict.fromkeys(roles, 1)
    for item in (part.strip() for text in texts for part in text.split(",")):
        role, sign, number = item.partition("=") if "=" in item else ("", "", item)
        if sign and role not in found:
            raise MemqlError(Code.INVALID_ARGUMENT, f"--replicas {item}: {role!r} does not run; {_named(roles)} do")
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= MOST_REPLICAS):
            raise MemqlError(
                Code.INVALID_ARGUMENT, f"--replicas {item}: expected ROLE=N or N, with N from 1 to {MOST_REPLICAS}"
            )
        found.update(dict.fromkeys([role] if sign else found, int(number)))
    return found


def make_plan(replicas: Mapping[str, int], ports: PortSource, *, tls: bool = False) -> Plan:
    """The nodes: ids are ``<role>-<n>`` from 1.

    :raises MemqlError: ``CONFIG_INVALID`` when no port can be had for one.
    """
    nodes = [_node(role, number, ports) for role, count in replicas.items() for number in range(1, count + 1)]
    return Plan(nodes=tuple(nodes), tls=tls)


def _node(role: str, number: int, ports: PortSource) -> NodePlan:
    grpc, http, service = ports.of(role, number)
    # It issues the credentials of the mesh's nodes and is none itself.
    service = 0 if role == IDENTITY else service
    return NodePlan(id=f"{role}-{number}", role=role, number=number, grpc=grpc, http=http, service=service)


def _not_installed(role: str, installed: Collection[str]) -> MemqlError:
    return MemqlError(
        Code.CONFIG_INVALID,
        f"the role {role!r} is not installed here, {_named(installed) or 'none'} are; pip install memql-{role}",
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
