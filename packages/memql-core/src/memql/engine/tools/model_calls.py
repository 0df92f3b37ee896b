"""Asking the providers of a chain in turn, within their limits, and telling what came of it (spec "Resolution,
policies, fallback").

Another provider is tried only until the first piece of the answer has been handed on. A failure after that ends the
answer with what there is, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast

import anyio

from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import falls_over, si_error, si_id
from memql.engine.tools.model_events import completion_event
from memql.engine.tools.model_ports import (
    Bound,
    CallGuard,
    CallRecord,
    ChatClient,
    ChatEvent,
    ChatRequest,
    Chosen,
    EmbeddingClient,
    Embeddings,
    Finish,
    Outcome,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from memql.engine.tools.model_routes import Chain, is_local, modality_of
from memql.errors import Code, MemqlError, internal_error
from memql.events.event import Event

__all__ = ["Clients", "ModelCalls"]

T = TypeVar("T")
C = TypeVar("C")

IDLE_SECONDS: Final = 30.0
"""How long a provider may send nothing."""


@dataclass(slots=True)
class Clients:
    """The registered clients, by provider type in lower case, and what stands before calls that leave this node."""

    chat: dict[str, ChatClient] = field(default_factory=dict)
    embedding: dict[str, EmbeddingClient] = field(default_factory=dict)
    guard: CallGuard | None = None

    def chat_for(self, bound: Bound, request: ChatRequest) -> ChatClient:
        """The client of a provider.

        :raises MemqlError: ``si.not_implemented`` when nothing here speaks to it, or not in the way that is needed.
        """
        client = _client(self.chat, bound)
        lacking = request.needs - client.capabilities
        if lacking:
            raise si_error("si.not_implemented", f"{bound.provider.name} has no {', '.join(sorted(lacking))}")
        return client

    def embedding_for(self, bound: Bound) -> EmbeddingClient:
        """The same for embeddings."""
        return _client(self.embedding, bound)


def _client(clients: Mapping[str, C], bound: Bound) -> C:
    client = clients.get(bound.provider.type.casefold())
    if client is None:
        known = ", ".join(sorted(clients)) or "none"
        raise si_error(
            "si.not_implemented",
            f"nothing on this node speaks to {bound.provider.type}, the type of {bound.provider.name}; known: {known}",
            details={"providerType": bound.provider.type},
        )
    return client


class ModelCalls:
    """See the module.

    :param publish: hands an event to the bus; must not wait.
    """

    def __init__(self, clients: Clients, publish: Callable[[Event], None]) -> None:
        self._clients = clients
        self._publish = publish

    async def chat(
        self, chain: Chain, request: ChatRequest, ctx: RequestContext, *, prompt: str = ""
    ) -> AsyncGenerator[ChatEvent, None]:
        """Answer with the first provider that can: :class:`Chosen` first, :class:`Finish` last.

        Close it to stop early; the provider's work ends with it.

        :param prompt: the name of the prompt that is rendered in the request, for the record.
        :raises MemqlError: the failure of the one provider, or ``si.upstream`` with those of all of them.
        """
        failures = list(chain.missing)
        for number, bound in enumerate(chain.bound, 1):
            last = number == len(chain.bound)
            attempt = _Attempt(self._clients, self._publish, chain, bound, ctx, request, prompt, last=last)
            shown = False
            held: list[ChatEvent] = [attempt.chosen]
            try:
                async with aclosing(attempt.events()) as events:
                    async for event in events:
                        held.append(event)
                        shown = shown or not isinstance(event, Usage)
                        while shown and held:
                            yield held.pop(0)
                return
            except MemqlError as error:
                if shown:
                    yield Finish(reason="error", metadata={"error": error.to_json()})
                    return
                _next_or_raise(failures, bound, error)
        raise all_failed(failures)

    async def embed(self, chain: Chain, texts: Sequence[str], ctx: RequestContext, request_id: str) -> Embeddings:
        """Embed with the first provider that can; errors as for :meth:`chat`."""
        failures = list(chain.missing)
        for bound in chain.bound:
            try:
                return await self._embed_once(chain, bound, texts, ctx, request_id)
            except MemqlError as error:
                _next_or_raise(failures, bound, error)
        raise all_failed(failures)

    async def _embed_once(
        self, chain: Chain, bound: Bound, texts: Sequence[str], ctx: RequestContext, request_id: str
    ) -> Embeddings:
        client = self._clients.embedding_for(bound)
        record = _record(chain, bound, ctx, request_id)
        guard = None if is_local(bound.provider) else self._clients.guard
        if guard is not None:
            await guard.admit(record, texts, ctx)
        began = time.perf_counter()
        outcome: Outcome = "error"
        try:
            found = await _within(client.embed(bound, texts, ctx), chain.total_limit)
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            if guard is not None:
                guard.settle(replace(record, outcome=outcome, duration_ms=_milliseconds(began)))
        return found


class _Attempt:
    """One try of one provider for a chat: its limits, and what is told about it."""

    def __init__(
        self,
        clients: Clients,
        publish: Callable[[Event], None],
        chain: Chain,
        bound: Bound,
        ctx: RequestContext,
        request: ChatRequest,
        prompt: str,
        *,
        last: bool,
    ) -> None:
        self._clients = clients
        self._publish = publish
        self._chain = chain
        self._bound = bound
        self._ctx = ctx
        self._request = request
        self._last = last
        self._record = replace(_record(chain, bound, ctx, request.request_id), prompt=prompt)
        self._guard = None if is_local(bound.provider) else clients.guard
        self._admitted = False
        self._began = 0.0
        self._first: float | None = None
        self._usage: Usage | None = None

    @property
    def chosen(self) -> Chosen:
        """Who answers."""
        provider = self._bound.provider
        return Chosen(
            provider=provider.name,
            model=provider.model,
            policy=self._chain.policy,
            degraded="no_model" if is_local(provider) else "",
        )

    async def events(self) -> AsyncGenerator[ChatEvent, None]:
        """The provider's answer, finished in any case."""
        self._began = time.perf_counter()
        try:
            client = self._clients.chat_for(self._bound, self._request)
            if self._guard is not None:
                await self._guard.admit(self._record, self._request, self._ctx)
                self._admitted = True
            self._tell("started", self._record)
            async with aclosing(_generator(client.chat(self._bound, self._request, self._ctx))) as source:
                while not isinstance(event := await self._next(source) or Finish(), Finish):
                    self._note(event)
                    yield event
        except MemqlError as error:
            self._end("error", error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self._end("cancelled", si_error("si.cancelled", "the request was cancelled"))
            raise
        except Exception as error:
            self._end("error", internal_error(error, ""))
            raise
        self._end("ok", None)
        yield event

    async def _next(self, source: AsyncGenerator[ChatEvent, None]) -> ChatEvent | None:
        limit, name = self._limit()
        try:
            return await _within(anext(source, None), limit)
        except MemqlError as error:
            if si_id(error) != "si.timeout" or name != "idle":
                raise
            raise si_error("si.stalled", f"nothing came for {limit:g} s") from error

    def _limit(self) -> tuple[float, str]:
        """The seconds that the next event may take, and which of the limits that is."""
        passed = time.perf_counter() - self._began
        limits = [(IDLE_SECONDS, "idle")]
        if self._chain.total_limit is not None:
            limits.append((self._chain.total_limit - passed, "total"))
        if self._chain.first_limit is not None and self._first is None:
            limits.append((self._chain.first_limit - passed, "first"))
        return min(limits)

    def _note(self, event: ChatEvent) -> None:
        if self._first is None and isinstance(event, TextDelta | ToolCallDelta):
            self._first = time.perf_counter()
        elif isinstance(event, Usage):
            self._usage = event

    def _end(self, outcome: Outcome, error: MemqlError | None) -> None:
        if outcome == "error" and error is not None and not self._last and self._first is None and falls_over(error):
            outcome = "fallback_used"
        record = replace(
            self._record,
            outcome=outcome,
            error="" if error is None else si_id(error) or error.code.value,
            usage=self._usage,
            duration_ms=_milliseconds(self._began),
            first_token_ms=None if self._first is None else int((self._first - self._began) * 1000),
        )
        if self._guard is not None and self._admitted:
            self._guard.settle(record)
        self._tell("finished" if error is None else "error", record, error)

    def _tell(self, stage: Any, record: CallRecord, error: MemqlError | None = None) -> None:
        self._publish(completion_event(stage, record, self._ctx, degraded=self.chosen.degraded, error=error))


def _record(chain: Chain, bound: Bound, ctx: RequestContext, request_id: str) -> CallRecord:
    provider = bound.provider
    return CallRecord(
        request_id=request_id,
        actor=ctx.actor.created_by,
        modality=modality_of(provider),
        provider=provider.name,
        type=provider.type,
        model=provider.model,
        policy=chain.policy,
        key_source=bound.key_source,
    )


async def _within(work: Awaitable[T], limit: float | None) -> T:
    """Bound a wait.

    :raises MemqlError: ``si.timeout``.
    """
    try:
        with anyio.fail_after(None if limit is None else max(limit, 0.0)):
            return await work
    except TimeoutError as error:
        raise si_error("si.timeout", f"no answer within {limit:g} s") from error


def _generator(source: AsyncIterator[ChatEvent]) -> AsyncGenerator[ChatEvent, None]:
    """Clients answer with async generators, as their port says."""
    return cast("AsyncGenerator[ChatEvent, None]", source)


def _next_or_raise(failures: list[tuple[str, MemqlError]], bound: Bound, error: MemqlError) -> None:
    """Go on to the next provider, or end with a failure that no other could mend."""
    if not falls_over(error):
        raise error
    failures.append((bound.provider.name, error))


def all_failed(failures: Sequence[tuple[str, MemqlError]]) -> MemqlError:
    """The error of a chain in which nobody answered."""
    if len(failures) == 1:
        return failures[0][1]
    told = "; ".join(f"{name}: {error.message}" for name, error in failures)
    tries = [{"provider": name, "error": si_id(error) or error.code.value} for name, error in failures]
    return MemqlError(Code.UNAVAILABLE, f"no model answered ({told})", details={"si": "si.upstream", "tries": tries})


def _milliseconds(began: float) -> int:
    return int((time.perf_counter() - began) * 1000)
