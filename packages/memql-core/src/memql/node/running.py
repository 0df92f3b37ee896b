"""Running a node as a process: signals in, an exit when it has stopped."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Awaitable, Callable

import anyio

from memql.config import Settings
from memql.errors import MemqlError
from memql.node.failures import unwrapped
from memql.node.node import Node, open_node

__all__ = ["run_node"]

log = logging.getLogger(__name__)

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})


async def run_node(
    settings: Settings, *, everything: bool = False, ready: Callable[[Node], Awaitable[None]] | None = None
) -> None:
    """Open a node and serve until SIGTERM or SIGINT, then drain; a second one stops at once. SIGHUP reads the tree
    again and keeps the old one if the new one is refused.

    :param ready: called once the node listens.
    :raises MemqlError: what keeps it from starting, or what took it down.
    """
    # Nothing made while starting becomes garbage; looking for it would cost a tenth of the start.
    gc.disable()
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            stop = _Stop(tasks.cancel_scope)
            tasks.start_soon(stop.listen, name="node: signals")
            async with open_node(settings, everything=everything) as node:
                stop.node = node
                _settle_memory()
                if stop.asked:
                    node.ask_to_drain("signal while starting")
                if ready is not None:
                    await ready(node)
                await node.wait_for_drain()
                await node.drain()
            tasks.cancel_scope.cancel()


def _settle_memory() -> None:
    """Collect garbage from here on, and leave out what stays for the life of the process."""
    gc.freeze()
    gc.enable()


class _Stop:
    """Takes the signals of the process."""

    def __init__(self, process: anyio.CancelScope) -> None:
        self.node: Node | None = None
        self.asked = False
        self._process = process

    async def listen(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async with anyio.create_task_group() as tasks:
                async for number in received:
                    if number in _STOPPING:
                        self._stop(number)
                    else:
                        tasks.start_soon(self._reload, name="node: reload")

    def _stop(self, number: signal.Signals) -> None:
        if self.asked or self.node is None:
            log.warning("%s: stopping at once", number.name)
            self._process.cancel()
        else:
            self.node.ask_to_drain(number.name)
        self.asked = True

    async def _reload(self) -> None:
        if self.node is None:
            return
        try:
            changed = await self.node.reload()
        except MemqlError as error:
            log.error("the tree is not reloaded, the one in force stays: %s", error)
        else:
            log.info("the tree is reloaded" if changed else "the tree has not changed")
