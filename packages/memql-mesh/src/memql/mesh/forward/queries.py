"""Calls of builtins whose host code is on another node (spec "Payloads", query_forward).

Ordinary queries run where they arrive: every node has the same tree and the same database. What differs from node to
node is the host code that roles bring. A builtin that has none here runs on a peer that says it has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from memql.engine.context import RequestContext
from memql.engine.engine import Engine
from memql.errors import Code, MemqlError
from memql.lang.catalog import Builtin
from memql.mesh import metrics
from memql.mesh.forward.authority import authority_of, claims_of, principal_of
from memql.mesh.forward.choice import Chooser
from memql.mesh.forward.inflight import InFlight
from memql.mesh.links.link import Link
from memql.mesh.wire.messages import QueryForward, QueryResponse
from memql.server.ports import NodeIdentity, Principal
from memql.server.replies import coded

__all__ = ["EXECUTOR", "Queries"]

log = logging.getLogger(__name__)

EXECUTOR: Final = "executor:"
"""What begins the capability of having an executor; its name follows."""

_TIMEOUT: Final = 60.0
_MOST: Final = 256


class Queries:
    """Asks and answers for one node."""

    def __init__(self, own: Callable[[], NodeIdentity], engine: Engine, inflight: InFlight, chooser: Chooser) -> None:
        self._own = own
        self._engine = engine
        self._inflight = inflight
        self._chooser = chooser
        self._tasks: TaskGroup | None = None
        self._running = 0

    async def run(self) -> None:
        """Answer peers, for ever."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await anyio.sleep_forever()

    async def call(self, builtin: Builtin, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Run a builtin on a node that has its executor; fits ``Builtins.elsewhere``.

        :raises MemqlError: ``UNAVAILABLE`` when no connected node has it, and what the call raises there.
        """
        link = self._chooser.choose(capability=EXECUTOR + builtin.executor)
        principal = Principal(actor=ctx.actor)
        request_id = self._inflight.new_id()
        with self._inflight.opened(request_id, link, None) as entry:
            link.post(
                QueryForward(
                    request_id=request_id,
                    query=builtin.name,
                    auth=claims_of(principal),
                    variables_json=msgspec.json.encode(args),
                    authority=authority_of(principal, self._own()),
                )
            )
            try:
                with anyio.fail_after(_TIMEOUT):
                    answer: QueryResponse = await entry.next()
            except TimeoutError:
                raise MemqlError(Code.TIMEOUT, f"{builtin.name} was not answered within {_TIMEOUT:g} s") from None
        metrics.forwards.labels("query", "answered" if answer.success else "refused").inc()
        if answer.success:
            return msgspec.json.decode(answer.result_json)
        raise _error(answer)

    # --- for peers --------------------------------------------------------------------------------------------------

    def asked(self, link: Link, message: QueryForward) -> None:
        """Run a builtin for a peer."""
        assert self._tasks is not None
        if self._running >= _MOST:
            full = MemqlError(Code.RESOURCE_EXHAUSTED, f"{_MOST} forwarded calls run here already")
            link.post(_failed(message.request_id, full))
            return
        self._tasks.start_soon(self._answer, link, message, name=f"mesh: {message.query[:40]} for {link.peer.id}")

    async def answered(self, link: Link, message: QueryResponse) -> None:
        """A peer has answered."""
        await self._inflight.answer(message.request_id, message, last=True)

    async def _answer(self, link: Link, message: QueryForward) -> None:
        self._running += 1
        try:
            value = await self._perform(link, message)
            answer = QueryResponse(request_id=message.request_id, success=True, result_json=msgspec.json.encode(value))
        except Exception as error:
            answer = _failed(message.request_id, coded(error))
        finally:
            self._running -= 1
        try:
            await link.put(answer)
        except MemqlError as error:
            await link.put(_failed(message.request_id, error))

    async def _perform(self, link: Link, message: QueryForward) -> Any:
        principal = principal_of(message.authority, message.auth, link.peer.id)
        builtin = self._engine.catalog.builtins.get(message.query)
        if builtin is None or builtin.executor not in self._engine.builtins.executors:
            raise MemqlError(
                Code.UNIMPLEMENTED,
                f"{message.query!r} is no builtin with host code on this node; ordinary queries run where they arrive",
            )
        args = msgspec.json.decode(message.variables_json or b"{}")
        return await self._engine.invoke_builtin(builtin, args, RequestContext(actor=principal.actor, inner=True))


def _failed(request_id: str, error: MemqlError) -> QueryResponse:
    return QueryResponse(request_id=request_id, error=error.message, error_code=error.code.value)


def _error(answer: QueryResponse) -> MemqlError:
    code = Code(answer.error_code) if answer.error_code in Code.__members__ else Code.INTERNAL
    return MemqlError(code, answer.error or "the node that was asked gave no reason")
