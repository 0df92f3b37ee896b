"""What a node does while its database is away: it waits and tries again, and ends only where that is told to.

While it starts, each step is repeated until the database has been away for as long as the settings allow. Once it runs,
its loops are begun again for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from memql.errors import MemqlError
from memql.graph.failures import UNREACHABLE

__all__ = ["keep_running", "ride_out"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 2.0


async def ride_out(what: str, step: Callable[[], Awaitable[T]], patience: float) -> T:
    """Do a step that may be done again, until the database has answered.

    :param what: the step, as the log names it.
    :param patience: seconds after the first failure during which it is tried again; 0 for one try.
    :raises MemqlError: what the step fails with otherwise, at once; ``UNAVAILABLE`` or ``TIMEOUT`` when time is up.
    """
    wait, ends = _FIRST_WAIT, float("inf")
    while True:
        try:
            return await step()
        except MemqlError as error:
            ends = min(ends, anyio.current_time() + patience)
            left = ends - anyio.current_time()
            if error.code not in UNREACHABLE or left <= 0:
                raise
            log.warning("%s waits for the database, for %.0f s at most: %s", what, left, error.message)
        await anyio.sleep(min(wait, left))
        wait = min(wait * 2, _LONGEST_WAIT)


async def keep_running(what: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop, and begin it again whenever it fails because the database is away.

    :raises MemqlError: what it fails with otherwise.
    """
    while True:
        try:
            return await loop()
        except MemqlError as error:
            if error.code not in UNREACHABLE:
                raise
            log.warning("%s begins again: %s", what, error.message)
        await anyio.sleep(_LONGEST_WAIT)
