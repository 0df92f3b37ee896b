"""Keeps a stream to every node that this one dials: those that the environment names, those that the database knows,
and a parent (spec "Peer discovery", "Topology")."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from memql.errors import MemqlError
from memql.mesh.discovery.topology import ABLE, NodeRow, Seed, choose_parent, dials, wanted_rows
from memql.mesh.links.dialer import Dialer
from memql.mesh.options import Options
from memql.mesh.peers import Card

__all__ = ["Dialing", "resolve"]

log = logging.getLogger(__name__)

_RESOLVE_SECONDS: Final = 5.0

Rows = Callable[[], Awaitable[Sequence[NodeRow]]]


class Dialing:
    """The dialers of one node.

    :param own: this node.
    :param seeds: nodes that the environment names.
    :param parent_address: the parent that the environment names; empty when one is to be found.
    :param rows: every node that the database knows.
    :param make: a dialer for an address, and for the name that was resolved to it, empty for none.
    :param workbench_remote: whether agents use workbench nodes.
    """

    def __init__(
        self,
        own: Card,
        seeds: Sequence[Seed],
        parent_address: str,
        rows: Rows,
        make: Callable[[str, str], Dialer],
        options: Options,
        *,
        workbench_remote: bool = False,
    ) -> None:
        self.dialers: dict[str, Dialer] = {}
        """By address."""
        self.parent: str = ""
        """The address of the parent; empty for a root."""
        self.rows: Sequence[NodeRow] = ()
        """Every node that the database knew when it was last asked."""
        self._own = own
        self._seeds = [seed for seed in seeds if dials(own.type, "", seed.type, "", workbench_remote=True)]
        self._fixed_parent = parent_address
        self._read_rows = rows
        self._make = make
        self._options = options
        self._workbench_remote = workbench_remote
        self._resolved: dict[Seed, frozenset[str]] = {}
        self._tried_parents: set[str] = set()
        self._lives: dict[str, str] = {}
        self._asked = anyio.Event()

    def look_again(self) -> None:
        """Something has changed: reconcile soon."""
        self._asked.set()

    async def run(self) -> None:
        """Reconcile and dial for ever."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._reconcile(tasks)
                with anyio.move_on_after(self._options.reconcile):
                    await self._asked.wait()
                # What changes seldom changes alone.
                await anyio.sleep(self._options.reconcile_quiet if self.dialers else self._options.backoff_first)
                self._asked = anyio.Event()

    @property
    def parent_id(self) -> str:
        """The id of the parent, once it has answered; empty before, and for a root."""
        dialer = self.dialers.get(self.parent)
        return dialer.peer_id if dialer is not None else ""

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _reconcile(self, tasks: TaskGroup) -> None:
        try:
            self.rows = await self._read_rows()
        except MemqlError as error:
            # What is dialed stays dialed.
            log.warning("the nodes of the cluster cannot be read: %s", error.message)
        self._hurry_to_those_who_are_back()
        await self._resolve_seeds()
        wanted = self._wanted()
        for address in wanted - self.dialers.keys():
            self._start(tasks, address)
        for address in self.dialers.keys() - wanted:
            self._stop_unless_connected(address)

    def _hurry_to_those_who_are_back(self) -> None:
        """A node that has started again answers now, however long its dialer means to wait."""
        able = {row.address: row.incarnation for row in self.rows if row.health in ABLE}
        for address, dialer in self.dialers.items():
            life = able.get(address, "")
            if life and self._lives.get(address) != life:
                dialer.hurry()
        self._lives = {address: life for address, life in (self._lives | able).items() if address in self.dialers}

    def _wanted(self) -> set[str]:
        rows = wanted_rows(self._own.type, self._own.id, self.rows, workbench_remote=self._workbench_remote)
        addresses = {*rows, *(one for found in self._resolved.values() for one in found)}
        self._choose_parent()
        if self.parent:
            addresses.add(self.parent)
        return addresses - {self._own.address}

    def _choose_parent(self) -> None:
        if self._fixed_parent:
            self.parent = self._fixed_parent
            return
        current = self.dialers.get(self.parent)
        if current is not None and current.failures < self._options.parent_patience:
            return
        if current is not None:
            log.warning("the parent at %s does not answer; choosing another one", self.parent)
            self._tried_parents.add(self.parent)
        row = self._find_parent()
        if row is None and self._tried_parents:
            self._tried_parents.clear()
            row = self._find_parent()
        self.parent = row.address if row is not None else ""

    def _find_parent(self) -> NodeRow | None:
        own, grace = self._own, self._options.rows_grace
        return choose_parent(own.type, own.id, self.rows, grace, but=self._tried_parents)

    def _start(self, tasks: TaskGroup, address: str) -> None:
        dialer = self.dialers[address] = self._make(address, self._name_of(address))
        tasks.start_soon(dialer.run, name=f"mesh: dialer of {address}")

    def _name_of(self, address: str) -> str:
        return next((seed.host for seed, found in self._resolved.items() if address in found), "")

    def _stop_unless_connected(self, address: str) -> None:
        dialer = self.dialers[address]
        if dialer.state != "connected":
            dialer.scope.cancel()
            del self.dialers[address]

    async def _resolve_seeds(self) -> None:
        for seed in self._seeds:
            found = await resolve(seed.host, seed.port)
            if found:
                self._resolved[seed] = found
            elif seed not in self._resolved:
                log.warning("the seed %s=%s:%d names no host that is known", seed.type, seed.host, seed.port)


async def resolve(host: str, port: int) -> frozenset[str]:
    """Every address behind a name, as ``host:port``; none when it is not known now."""
    try:
        with anyio.fail_after(_RESOLVE_SECONDS):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return frozenset()
    return frozenset(_text(str(where[0]), port) for *_, where in found)


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
