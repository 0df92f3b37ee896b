"""The states of a node: Starting, Ready, Draining, Stopped; forward only (spec "Lifecycle")."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

__all__ = ["Lifecycle", "State"]


class State(IntEnum):
    """Where a node is in its life; the value only grows."""

    STARTING = 0
    READY = 1
    DRAINING = 2
    STOPPED = 3

    @property
    def advertised(self) -> str:
        """What other nodes are told."""
        return ("CONNECTING", "HEALTHY", "DRAINING", "STOPPED")[self]


class Lifecycle:
    """The state of one node."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self._listeners: list[Callable[[State], None]] = []

    def on_change(self, listener: Callable[[State], None]) -> None:
        """Call ``listener`` with each state that is entered."""
        self._listeners.append(listener)

    def advance(self, state: State) -> bool:
        """Enter a later state; False, and nothing happens, when the node is there or past it."""
        if state <= self.state:
            return False
        self.state = state
        for listener in self._listeners:
            listener(state)
        return True
