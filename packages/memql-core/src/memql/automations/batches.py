"""Does in one go what several callers ask for at about the same time.

One batch is under way; what is asked for meanwhile is the next one. So a lone caller waits for nobody, and under load a
batch grows to what comes in while the one before it is carried out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from memql.errors import MemqlError
from memql.graph.failures import UNREACHABLE

__all__ = ["Batches", "Start"]

T = TypeVar("T")
R = TypeVar("R")

Start: TypeAlias = Callable[..., object]
"""``start_soon`` of a task group."""


class _Asked(NamedTuple, Generic[T, R]):
    item: T
    answer: asyncio.Future[R]


class Batches(Generic[T, R]):
    """Batches of one kind.

    A batch that cannot be asked for fails for each of its members. One that is refused is cut in halves until the
    members that are refused stand alone; the others succeed.

    :param start: starts a task in the group where the work runs.
    :param perform: does a batch and gives one result per item, in order.
    :param most: how many items one batch has at most.
    :param left: takes a result whose caller was cancelled while the batch was under way.
    """

    def __init__(
        self,
        start: Start,
        perform: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        most: int,
        left: Callable[[R], Awaitable[None]] | None = None,
    ) -> None:
        self._start = start
        self._perform = perform
        self._most = most
        self._left = left
        self._waiting: deque[_Asked[T, R]] = deque()
        self._under_way = False

    async def ask(self, item: T) -> R:
        """What the batch with this item gives for it.

        :raises MemqlError: what the item alone, or the way to the database, is refused with.
        """
        asked: _Asked[T, R] = _Asked(item, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if not self._under_way:
            self._under_way = True
            self._start(self._work)
        try:
            return await asked.answer
        except asyncio.CancelledError:
            if _has_result(asked.answer):
                self._start(self._leave, [asked.answer.result()])
            raise

    async def _work(self) -> None:
        try:
            while batch := self._next():
                try:
                    await self._carry_out(batch)
                finally:
                    _cancel(batch)
        finally:
            self._under_way = False
            _cancel(self._waiting)

    def _next(self) -> list[_Asked[T, R]]:
        batch: list[_Asked[T, R]] = []
        while self._waiting and len(batch) < self._most:
            asked = self._waiting.popleft()
            if not asked.answer.cancelled():
                batch.append(asked)
        return batch

    async def _carry_out(self, batch: Sequence[_Asked[T, R]]) -> None:
        try:
            results = await self._perform([asked.item for asked in batch])
        except Exception as error:
            if len(batch) == 1 or (isinstance(error, MemqlError) and error.code in UNREACHABLE):
                _refuse(batch, error)
                return
        else:
            await self._leave(_answer(batch, results))
            return
        middle = len(batch) // 2
        await self._carry_out(batch[:middle])
        await self._carry_out(batch[middle:])

    async def _leave(self, results: Sequence[R]) -> None:
        if self._left is not None:
            for result in results:
                await self._left(result)


def _answer(batch: Sequence[_Asked[T, R]], results: Sequence[R]) -> list[R]:
    """Tell everybody; gives the results that nobody waits for any more."""
    left = []
    for asked, result in zip(batch, results, strict=True):
        if asked.answer.cancelled():
            left.append(result)
        else:
            asked.answer.set_result(result)
    return left


def _has_result(answer: asyncio.Future[R]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def _refuse(batch: Sequence[_Asked[T, R]], error: Exception) -> None:
    for asked in batch:
        if not asked.answer.cancelled():
            asked.answer.set_exception(error)


def _cancel(batch: Iterable[_Asked[T, R]]) -> None:
    for asked in batch:
        asked.answer.cancel()
