"""The ports of the nodes: those of a real cluster where one machine has room for them, or whatever is free.

In a cluster every node has an address of its own and listens at 50051 and 8085. On one machine the bff, which users
talk to, has these; each other role listens beside its own NodeService port.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Final, NamedTuple, Protocol

from memql.errors import Code, MemqlError

__all__ = ["FreePorts", "PortSource", "Ports", "SeedPorts", "is_free", "require_free"]

_LOOPBACK: Final = "127.0.0.1"
_ENTRY: Final = "bff"
_ENTRY_GRPC, _ENTRY_HTTP = 50051, 8085
_GRPC_BESIDE_SERVICE: Final = 20
_STEP: Final = 100
"""From one replica of a role to the next."""

_FREE_FROM, _FREE_TO = 10_000, 32_000
"""Below the ports that systems give to outgoing connections: nobody takes one while its node starts again."""
_SHOWN: Final = 6


class Ports(NamedTuple):
    """Where one node listens: MemqlService, HTTP, NodeService."""

    grpc: int
    http: int
    service: int


class PortSource(Protocol):
    """Gives nodes their ports."""

    def of(self, role: str, number: int) -> Ports:
        """The ports of the node of that role and number.

        :raises MemqlError: ``CONFIG_INVALID`` when there are none.
        """
        ...


class SeedPorts:
    """The well-known ones, the same every time.

    :param service_ports: the NodeService port of each role.
    :param offset: added to every port.
    """

    def __init__(self, service_ports: Mapping[str, int], offset: int = 0) -> None:
        self._service_ports = service_ports
        self._offset = offset

    def of(self, role: str, number: int) -> Ports:
        """See :class:`PortSource`."""
        service = self._service_ports[role]
        if role == _ENTRY:
            grpc, http = _ENTRY_GRPC, _ENTRY_HTTP
        else:
            grpc, http = service + _GRPC_BESIDE_SERVICE, service - _ENTRY_GRPC + _ENTRY_HTTP
        moved = Ports(*(port + self._offset + _STEP * (number - 1) for port in (grpc, http, service)))
        if not all(0 < port < 65_536 for port in moved):
            raise MemqlError(
                Code.CONFIG_INVALID,
                f"--port-offset {self._offset} gives {role}-{number} a port that does not exist ({min(moved)} to "
                f"{max(moved)}); ports are 1 to 65535",
            )
        return moved


class FreePorts:
    """Any that are free now, each once."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def of(self, role: str, number: int) -> Ports:
        """See :class:`PortSource`."""
        return Ports(self._one(), self._one(), self._one())

    def _one(self) -> int:
        start = random.randrange(_FREE_FROM, _FREE_TO)  # noqa: S311  nothing is kept secret by it
        for port in chain(range(start, _FREE_TO), range(_FREE_FROM, start)):
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise MemqlError(Code.CONFIG_INVALID, f"no port from {_FREE_FROM} to {_FREE_TO - 1} is free")


def is_free(port: int) -> bool:
    """Whether a node could listen there now."""
    with socket.socket() as probe:
        # As servers do: what is left of a connection that has ended is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def require_free(wanted: Iterable[tuple[int, str]]) -> None:
    """Check that every port can be listened at.

    :param wanted: each port, and what needs it.
    :raises MemqlError: ``CONFIG_INVALID`` naming those that are taken, who needs them, and what to do.
    """
    taken = [f"{port} ({what})" for port, what in wanted if not is_free(port)]
    if taken:
        one = len(taken) == 1
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{'this port is' if one else 'these ports are'} taken: {_shortened(taken)}. Stop what listens there, or "
            "move the cluster: --port-offset 1000 adds to every port, --free-ports takes any",
        )


def _shortened(items: Collection[str]) -> str:
    shown = list(items)[:_SHOWN]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
