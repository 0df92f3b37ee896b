"""Calls of builtins whose host code, and of prompts whose models, are on another node (spec "Payloads", query_forward).

Ordinary queries run where they arrive: every node has the same tree and the same database. What differs from node to
node is the host code that roles bring. A builtin that has none here runs on a peer that says it has it, and so does a
prompt where no model can be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import anyio
import msgspec

from memql.engine.context import RequestContext
from memql.engine.engine import Engine
from memql.errors import Code, MemqlError
from memql.lang.catalog import Builtin
from memql.mesh import metrics
from memql.mesh.forward.authority import authority_of, claims_of, principal_of
from memql.mesh.forward.choice import Chooser
from memql.mesh.forward.inflight import InFlight
from memql.mesh.links.link import Link
from memql.mesh.tasks import Start
from memql.mesh.wire.messages import QueryForward, QueryResponse
from memql.server.ports import NodeIdentity, Principal
from memql.server.replies import coded

__all__ = ["EXECUTOR", "MODELS", "Queries", "query_capabilities"]

log = logging.getLogger(__name__)

EXECUTOR: Final = "executor:"
"""What begins the capability of having an executor; its name follows."""

MODELS: Final = "models"
"""The capability of reaching language models."""

_PROMPT: Final = "si:"
_TIMEOUT: Final = 120.0
_MOST: Final = 256


class Queries:
    """Asks and answers for one node.

    :param own: this node as it is now.
    :param start: starts a task that lives at most as long as the node.
    """

    def __init__(
        self, own: Callable[[], NodeIdentity], engine: Engine, inflight: InFlight, chooser: Chooser, start: Start
    ) -> None:
        self._own = own
        self._engine = engine
        self._inflight = inflight
        self._chooser = chooser
        self._start = start
        self._running = 0
        self.refusal: MemqlError | None = None
        """When set, new calls are refused with it; the drain sets it."""

    async def call(self, builtin: Builtin, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Run a builtin on a node that has its executor; fits ``Builtins.elsewhere``.

        :raises MemqlError: ``UNAVAILABLE`` when no connected node has it, and what the call raises there.
        """
        return await self._ask(EXECUTOR + builtin.executor, builtin.name, args, ctx)

    async def prompt(
        self, name: str, data: Mapping[str, Any], ctx: RequestContext, provider: str | None, ttl: float | None
    ) -> Any:
        """Run a prompt on a node that reaches models; fits ``Models.elsewhere``.

        :raises MemqlError: as :meth:`call`.
        """
        return await self._ask(MODELS, _PROMPT + name, {"data": data, "provider": provider, "ttl": ttl}, ctx)

    async def _ask(self, capability: str, query: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        link = self._chooser.choose(capability=capability)
        principal = Principal(actor=ctx.actor)
        request_id = self._inflight.new_id()
        with self._inflight.opened(request_id, link, None) as entry:
            link.post(
                QueryForward(
                    request_id=request_id,
                    query=query,
                    auth=claims_of(principal),
                    variables_json=msgspec.json.encode(args),
                    authority=authority_of(principal, self._own()),
                )
            )
            try:
                with anyio.fail_after(_TIMEOUT):
                    answer: QueryResponse = await entry.next()
            except TimeoutError:
                raise _late(query) from None
        metrics.forwarded("query", "answered" if answer.success else "refused")
        if answer.success:
            return msgspec.json.decode(answer.result_json)
        raise _error(answer)

    # --- for peers --------------------------------------------------------------------------------------------------

    def asked(self, link: Link, message: QueryForward) -> None:
        """Run a builtin or a prompt for a peer."""
        if self.refusal is not None:
            link.post(_failed(message.request_id, self.refusal))
            return
        if self._running >= _MOST:
            full = MemqlError(Code.RESOURCE_EXHAUSTED, f"{_MOST} forwarded calls run here already")
            link.post(_failed(message.request_id, full))
            return
        self._start(self._answer, link, message, name=f"mesh: {message.query[:40]} for {link.peer.id}")

    def answered(self, link: Link, message: QueryResponse) -> Awaitable[None] | None:
        """A peer has answered."""
        return self._inflight.answer(message.request_id, message, last=True)

    async def _answer(self, link: Link, message: QueryForward) -> None:
        self._running += 1
        try:
            with anyio.fail_after(_TIMEOUT):
                value = await self._perform(link, message)
            answer = QueryResponse(request_id=message.request_id, success=True, result_json=msgspec.json.encode(value))
        except TimeoutError:
            answer = _failed(message.request_id, _late(message.query))
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
        args = _arguments(message.variables_json)
        ctx = RequestContext(actor=principal.actor, inner=True)
        if message.query.startswith(_PROMPT):
            return await self._engine.models.run(
                message.query.removeprefix(_PROMPT),
                args.get("data") or {},
                ctx,
                provider=args.get("provider"),
                ttl=args.get("ttl"),
                here=True,
            )
        builtin = self._engine.catalog.builtins.get(message.query)
        if builtin is None or builtin.executor not in self._engine.builtins.executors:
            raise MemqlError(
                Code.UNIMPLEMENTED,
                f"{message.query!r} is no builtin with host code on this node; ordinary queries run where they arrive",
            )
        return await self._engine.invoke_builtin(builtin, args, ctx)


def query_capabilities(engine: Engine) -> Iterator[str]:
    """What a node can run for others."""
    if engine.models.reaches_models:
        yield MODELS
    for name in sorted(engine.builtins.executors):
        yield EXECUTOR + name


def _arguments(data: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(data or b"{}", type=dict)
    except msgspec.MsgspecError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the arguments cannot be read: {error}") from error


def _late(query: str) -> MemqlError:
    return MemqlError(Code.TIMEOUT, f"{query} was not answered within {_TIMEOUT:g} s")


def _failed(request_id: str, error: MemqlError) -> QueryResponse:
    return QueryResponse(request_id=request_id, error=error.message, error_code=error.code.value)


def _error(answer: QueryResponse) -> MemqlError:
    code = Code(answer.error_code) if answer.error_code in Code.__members__ else Code.INTERNAL
    return MemqlError(code, answer.error or "the node that was asked gave no reason")
