"""Model calls: prompts as ``si()`` runs them, chat, embeddings and suggestions (spec "SI layer"; "Construct rules",
Prompt, Provider, Policy).

The core holds the contract and the way to a provider; clients register themselves by provider type. What a client
implements stands in :mod:`memql.engine.tools.model_ports`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from memql.engine.context import RequestContext
from memql.engine.tools.model_calls import Clients, ModelCalls
from memql.engine.tools.model_errors import si_error, si_id
from memql.engine.tools.model_ports import (
    CallGuard,
    ChatClient,
    ChatEvent,
    ChatMessage,
    ChatReply,
    ChatRequest,
    Chosen,
    CredentialLookup,
    EmbeddingClient,
    Embeddings,
    Finish,
    OfflineRule,
    SuggestionDomain,
    TextDelta,
    Usage,
)
from memql.engine.tools.model_routes import Chain, Resolver
from memql.engine.values import bind_args
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.ids import new_id
from memql.lang.catalog import Catalog, Prompt
from memql.lang.templates import parse_template

__all__ = ["MAX_TTL", "Models", "reply_metadata"]

MAX_TTL: Final = 300.0
"""Seconds an answer may be reused at most."""
_CACHE_SIZE: Final = 1024
_NOBODY: Final = frozenset({"si.no_provider", "si.auth_missing", "si.not_implemented"})


Elsewhere = Callable[[str, Mapping[str, Any], RequestContext, str | None, float | None], Awaitable[Any]]
"""Runs a prompt on another node: name, data, context, provider and ttl as :meth:`Models.run` takes them."""


async def _no_variable(name: str) -> str | None:
    return None


class Models:
    """The one way to models.

    :param credential: how ``env("NAME")`` of a provider is found.
    :param variable: the value of a global variable, for the defaults that may stand in one.
    :param defaults: provider or policy names by modality, from the settings.
    :param publish: hands events to the bus; must not wait.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        credential: CredentialLookup,
        *,
        variable: Callable[[str], Awaitable[str | None]] = _no_variable,
        defaults: Mapping[str, str] | None = None,
        publish: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._catalog = catalog
        self._resolver = Resolver(catalog, credential, variable, defaults or {})
        self._clients = Clients()
        self._calls = ModelCalls(self._clients, publish)
        self._domains: dict[str, SuggestionDomain] = {}
        self._rules: dict[str, OfflineRule] = {}
        self._answers: OrderedDict[tuple[Any, ...], tuple[float, Any]] = OrderedDict()
        self.elsewhere: Elsewhere | None = None
        """Runs a prompt that nothing on this node can answer, where other nodes can be asked."""

    # --- what roles bring ------------------------------------------------------------------------------------------

    def register_chat(self, provider_type: str, client: ChatClient) -> None:
        """Add the chat client for providers of a ``@type``; case does not count.

        :raises MemqlError: ``ALREADY_EXISTS`` when the type has one.
        """
        _add(self._clients.chat, provider_type.casefold(), client, "provider type")

    def register_embedding(self, provider_type: str, client: EmbeddingClient) -> None:
        """The same for embeddings."""
        _add(self._clients.embedding, provider_type.casefold(), client, "provider type")

    def register_domain(self, name: str, domain: SuggestionDomain) -> None:
        """Add what answers ``si_suggest`` for a domain; errors as above."""
        _add(self._domains, name, domain, "suggestion domain")

    def register_rule(self, prompt: str, rule: OfflineRule) -> None:
        """Add what answers a prompt when no provider of its route has a key; errors as above."""
        _add(self._rules, prompt, rule, "prompt")

    def guard(self, guard: CallGuard) -> None:
        """Put budgets, ceilings and the ledger before every call that leaves this node.

        :raises MemqlError: ``ALREADY_EXISTS`` when there is one.
        """
        if self._clients.guard is not None:
            raise MemqlError(Code.ALREADY_EXISTS, "model calls have a guard already")
        self._clients.guard = guard

    # --- chat ------------------------------------------------------------------------------------------------------

    async def chat(
        self, request: ChatRequest, ctx: RequestContext, *, route: str = "", hints: Sequence[str] = ()
    ) -> AsyncGenerator[ChatEvent, None]:
        """Answer as it comes: :class:`Chosen` first, :class:`Finish` last. Close it to stop the work early.

        :param route: the provider or routing policy that the asker named.
        :param hints: further names in order of precedence, before the default.
        :raises MemqlError: with ids of :mod:`memql.engine.tools.model_errors`.
        """
        chain = await self._resolver.chain("chat", (route, *hints), offline=True)
        async with aclosing(self._calls.chat(chain, request, ctx)) as events:
            async for event in events:
                yield event

    async def complete(
        self, request: ChatRequest, ctx: RequestContext, *, route: str = "", hints: Sequence[str] = ()
    ) -> ChatReply:
        """The whole answer; otherwise as :meth:`chat`."""
        return await _collect(self.chat(request, ctx, route=route, hints=hints))

    # --- embeddings ------------------------------------------------------------------------------------------------

    async def embed(
        self, texts: Sequence[str], ctx: RequestContext, *, route: str = "", request_id: str = ""
    ) -> Embeddings:
        """One vector per text.

        :raises MemqlError: with ids of :mod:`memql.engine.tools.model_errors`.
        """
        chain = await self._resolver.chain("embedding", (route,), offline=True)
        return await self._calls.embed(chain, texts, ctx, request_id or new_id())

    # --- suggestions -----------------------------------------------------------------------------------------------

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the suggestion domains on this node."""
        return tuple(sorted(self._domains))

    async def suggest(self, domain: str, payload: Mapping[str, Any], ctx: RequestContext) -> Mapping[str, Any]:
        """What a domain suggests.

        :raises MemqlError: ``si.invalid_request`` for a domain that is not here, naming those that are.
        """
        answer = self._domains.get(domain)
        if answer is None:
            raise si_error(
                "si.invalid_request",
                f"no suggestion domain is called {domain!r}; there are: {', '.join(self.domains) or 'none'}",
                details={"domains": list(self.domains)},
            )
        return await answer(payload, ctx)

    @property
    def reaches_models(self) -> bool:
        """Whether a client on this node can ask a language model."""
        return bool(self._clients.chat)

    # --- prompts ---------------------------------------------------------------------------------------------------

    async def run(
        self,
        name: str,
        data: Mapping[str, Any],
        ctx: RequestContext,
        *,
        provider: str | None = None,
        ttl: float | None = None,
        here: bool = False,
    ) -> Any:
        """Render a prompt, ask its provider (or those of its policy, in turn), decode a JSON answer.

        :param provider: a provider or routing policy to use instead of the prompt's own.
        :param ttl: seconds an equal call of the same caller may be answered from memory; at most 300.
        :param here: not to ask another node, whatever this one can answer.
        :raises MemqlError: ``UNKNOWN_FUNCTION`` for an unknown prompt, ``INVALID_ARGUMENT`` for data the prompt does
            not take or an unknown provider, ``UNAVAILABLE`` when no provider answered; ``details.si`` says why.
        """
        prompt = self._prompt(name)
        fields = bind_args(prompt.fields, data, name)
        text = parse_template(prompt.template).render(fields)
        route = provider or prompt.provider
        # An offline answer depends on what its caller may read.
        key = (name, route, text, ctx.actor.created_by, ctx.actor.role, ctx.actor.is_cluster_owner)
        if ttl and (hit := self._answers.get(key)) and hit[0] > time.monotonic():
            return hit[1]
        if self.elsewhere is not None and not here and not self._answers_here(name):
            answer = await self.elsewhere(name, data, ctx, provider, ttl)
        else:
            answer = await self._answer(prompt, route, fields, text, ctx)
        if ttl:
            self._answers[key] = (time.monotonic() + min(ttl, MAX_TTL), answer)
            while len(self._answers) > _CACHE_SIZE:
                self._answers.popitem(last=False)
        return answer

    def _answers_here(self, name: str) -> bool:
        return self.reaches_models or name in self._rules

    def _prompt(self, name: str) -> Prompt:
        prompt = self._catalog().prompts.get(name)
        if prompt is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"no prompt is called {name!r}", context=name)
        return prompt

    async def _answer(
        self, prompt: Prompt, route: str, fields: Mapping[str, Any], text: str, ctx: RequestContext
    ) -> Any:
        try:
            # A prompt is no question to recall: without a model only a rule made for it may answer.
            chain = await self._resolver.chain("chat", (route,), offline=False)
        except MemqlError as error:
            rule = self._rules.get(prompt.name)
            if rule is None or si_id(error) not in ("si.no_provider", "si.auth_missing"):
                raise _unavailable(error) from error
            return await rule(fields, ctx)
        return await self._ask(chain, prompt, text, ctx)

    async def _ask(self, chain: Chain, prompt: Prompt, text: str, ctx: RequestContext) -> Any:
        request = ChatRequest(messages=(ChatMessage(role="user", content=text),), request_id=new_id())
        try:
            reply = await _collect(self._calls.chat(chain, request, ctx, prompt=prompt.name))
        except MemqlError as error:
            raise _unavailable(error) from error
        if reply.finish.reason == "error":
            raise si_error("si.upstream", "the answer broke off", details={"cause": reply.finish.metadata["error"]})
        return decode_answer(reply.text)


def _add(registry: dict[str, Any], name: str, entry: Any, what: str) -> None:
    if name in registry:
        raise MemqlError(Code.ALREADY_EXISTS, f"the {what} {name!r} is registered already")
    registry[name] = entry


def _unavailable(error: MemqlError) -> MemqlError:
    """In the language a provider that cannot be asked is unavailable, whatever the reason."""
    if si_id(error) not in _NOBODY:
        return error
    return MemqlError(Code.UNAVAILABLE, error.message, details=error.details, retryable=False)


async def _collect(events: AsyncGenerator[ChatEvent, None]) -> ChatReply:
    text: list[str] = []
    chosen, usage, finish = Chosen(provider="", model=""), None, Finish()
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta():
                    text.append(event.text)
                case Chosen():
                    chosen = event
                case Usage():
                    usage = event
                case Finish():
                    finish = event
    return ChatReply(text="".join(text), chosen=chosen, usage=usage, finish=finish)


def reply_metadata(chosen: Chosen, usage: Usage | None, finish: Finish) -> dict[str, Any]:
    """What travels beside the text of an answer: ``source`` (provider, model, policy, degraded), ``finishReason``,
    ``usage`` where it is known, and what the provider added, such as ``citations``."""
    source = {
        "provider": chosen.provider,
        "model": chosen.model,
        "policy": chosen.policy,
        "degraded": chosen.degraded,
    }
    out: dict[str, Any] = {
        **finish.metadata,
        "source": {name: value for name, value in source.items() if value},
        "finishReason": finish.reason,
    }
    if usage is not None:
        out["usage"] = {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "cachedInputTokens": usage.cached_input_tokens,
        }
    return out


def decode_answer(text: str) -> Any:
    """A JSON object or list as its value; any other text as it is."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
