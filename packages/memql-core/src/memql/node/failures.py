"""One failure out of a group: task groups wrap what ends them, users are told what happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["unwrapped"]


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the only exception of a group by itself; a group of several stays one."""
    try:
        yield
    except BaseExceptionGroup as group:
        sole = _sole(group)
        if sole is None:
            raise
        raise sole from sole.__cause__


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    if len(group.exceptions) != 1:
        return None
    (only,) = group.exceptions
    return _sole(only) if isinstance(only, BaseExceptionGroup) else only
