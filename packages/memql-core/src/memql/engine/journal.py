"""The journal of a durable run, as bodies see it: a call that was recorded is answered from the record.

A run that died half-way is repeated from its start by whoever takes it over. Each call has a place that is
the same in every repetition, so a repetition gets what the first run got, reads included, and takes the same
path to where the first run stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Protocol, TypeAlias

from memql.engine.context import RequestContext

__all__ = ["Journal", "Nature", "Perform"]


class Nature(Enum):
    """What a call does to the world, and hence when its record is written."""

    READ = "read"
    """Nothing: recorded together with the next effect, because until then a fresh read does as well."""

    WRITE = "write"
    """Graph writes and events: one transaction holds them and the record, so neither is there without the
    other."""

    OUTSIDE = "outside"
    """Effects elsewhere: recorded right after, so at least once; the called party gets an idempotency key."""


Perform: TypeAlias = Callable[[RequestContext], Awaitable[Any]]
"""The call itself, in the context that the journal chooses (a transaction, for a write)."""


class Journal(Protocol):
    """The record of one run."""

    async def call(self, place: str, target: str, nature: Nature, perform: Perform, ctx: RequestContext) -> Any:
        """Give the recorded result of the call at ``place``, or perform it and record what it gave.

        :param target: what is called, to notice that the tree changed under an interrupted run.
        :raises MemqlError: ``CONFLICT`` when another process has taken the run over, ``FAILED_PRECONDITION``
            when the record at ``place`` is of another call, and what ``perform`` raises.
        """
        ...
