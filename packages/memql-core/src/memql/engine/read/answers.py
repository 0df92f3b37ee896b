"""Model calls in templates: the one part of a shape that the database cannot build.

The statement leaves a marked object where an answer belongs, with the fields of the prompt; here the rows are decoded,
the models asked, and the answers put in their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import msgspec

from memql.engine.context import RequestContext
from memql.engine.result import decode
from memql.errors import Code, MemqlError

__all__ = ["AskModel", "ModelCall", "ModelCalls", "fill_in"]

_AT_ONCE = 8
_encode = msgspec.json.encode


class AskModel(Protocol):
    """How a prompt is answered."""

    async def __call__(
        self,
        name: str,
        data: dict[str, Any],
        ctx: RequestContext,
        *,
        provider: str | None = None,
        ttl: float | None = None,
    ) -> Any:
        """Render the prompt ``name`` with ``data`` and return the decoded answer."""
        ...


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One ``si(..)`` of a template: the prompt's key, and literals for the provider and the cache time."""

    prompt: str
    provider: str | None
    ttl: float | None


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """The model calls of a template, and the member that marks where their answers belong."""

    calls: tuple[ModelCall, ...]
    marker: str


async def fill_in(rows: Sequence[bytes], models: ModelCalls, ask: AskModel | None, ctx: RequestContext) -> list[bytes]:
    """The rows with an answer in the place of every marked object.

    :raises MemqlError: ``UNAVAILABLE`` when there is nobody to ask, and what asking raises.
    """
    if ask is None:
        raise MemqlError(Code.UNAVAILABLE, "this node answers no si(..): no model provider is set up")
    holders: list[Any] = [[decode(row)] for row in rows]
    places = [place for holder in holders for place in _places(holder, models.marker)]
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def answer(container: Any, key: Any) -> None:
        marked = container[key]
        call = models.calls[marked[models.marker]]
        async with limiter:
            container[key] = await ask(
                call.prompt, marked.get("fields") or {}, ctx, provider=call.provider, ttl=call.ttl
            )

    try:
        async with anyio.create_task_group() as group:
            for container, key in places:
                group.start_soon(answer, container, key)
    except BaseExceptionGroup as failures:
        coded = failures.subgroup(MemqlError)
        if coded is None:
            raise
        raise _first(coded) from failures
    return [_encode(holder[0]) for holder in holders]


def _first(group: BaseExceptionGroup[MemqlError]) -> MemqlError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MemqlError)
    return error


def _places(container: Any, marker: str) -> list[tuple[Any, Any]]:
    """Where marked objects stand, as container and key."""
    found: list[tuple[Any, Any]] = []
    keyed = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in keyed:
        if isinstance(value, dict) and marker in value:
            found.append((container, key))
        elif isinstance(value, dict | list):
            found += _places(value, marker)
    return found
