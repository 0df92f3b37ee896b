"""``si()``: a prompt, a provider or a routing policy, and the client of a vendor that some role brings (spec
"Construct rules", Prompt, Provider, Policy).

The core holds the contract and the order of trial; vendor clients register themselves by provider type. With none
registered, or without a key, a call is ``UNAVAILABLE`` and says what is missing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import anyio
import msgspec

from memql.engine.context import RequestContext
from memql.engine.values import bind_args
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Policy, Prompt, Provider
from memql.lang.templates import parse_template

__all__ = ["MAX_TTL", "CredentialLookup", "ModelClient", "Models"]

MAX_TTL = 300.0
"""Seconds an answer may be reused at most."""
_CACHE_SIZE = 1024


class ModelClient(Protocol):
    """A vendor's client, for one provider type."""

    async def complete(self, provider: Provider, auth: Mapping[str, str], prompt: str, ctx: RequestContext) -> str:
        """The model's whole answer.

        :raises MemqlError: ``UNAVAILABLE`` when the vendor cannot be reached, refuses or is overloaded.
        """
        ...


CredentialLookup = Callable[[str], Awaitable[str | None]]
"""The value of ``env("NAME")``: global secret, global variable, environment, each also without ``MEMQL_SI_``."""


class Models:
    """Runs prompts."""

    def __init__(self, catalog: Callable[[], Catalog], credential: CredentialLookup) -> None:
        self._catalog = catalog
        self._credential = credential
        self._clients: dict[str, ModelClient] = {}
        self._answers: OrderedDict[tuple[str, str, str], tuple[float, Any]] = OrderedDict()

    def register(self, provider_type: str, client: ModelClient) -> None:
        """Add the client for providers of a ``@type``.

        :raises MemqlError: ``ALREADY_EXISTS`` when the type has one.
        """
        if provider_type in self._clients:
            raise MemqlError(Code.ALREADY_EXISTS, f"provider type {provider_type!r} has a client already")
        self._clients[provider_type] = client

    async def run(
        self,
        name: str,
        data: Mapping[str, Any],
        ctx: RequestContext,
        *,
        provider: str | None = None,
        ttl: float | None = None,
    ) -> Any:
        """Render a prompt, ask its provider (or those of its policy, in turn), decode a JSON answer.

        :param provider: a provider or routing policy to use instead of the prompt's own.
        :param ttl: seconds an equal call may be answered from memory; at most 300.
        :raises MemqlError: ``UNKNOWN_FUNCTION`` for an unknown prompt or provider, ``INVALID_ARGUMENT`` for data the
            prompt does not take, ``UNAVAILABLE`` when no provider answered.
        """
        prompt = self._prompt(name)
        text = parse_template(prompt.template).render(bind_args(prompt.fields, data, name))
        route = provider or prompt.provider
        key = (name, route, text)
        if ttl and (hit := self._answers.get(key)) and hit[0] > time.monotonic():
            return hit[1]
        answer = decode_answer(await self._ask(route, text, ctx))
        if ttl:
            self._answers[key] = (time.monotonic() + min(ttl, MAX_TTL), answer)
            while len(self._answers) > _CACHE_SIZE:
                self._answers.popitem(last=False)
        return answer

    def _prompt(self, name: str) -> Prompt:
        prompt = self._catalog().prompts.get(name)
        if prompt is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"no prompt is called {name!r}", context=name)
        return prompt

    async def _ask(self, route: str, text: str, ctx: RequestContext) -> str:
        chain, limit = self._chain(route)
        refusals: list[str] = []
        for provider in chain:
            try:
                with anyio.fail_after(limit):
                    return await self._ask_one(provider, text, ctx)
            except TimeoutError:
                refusals.append(f"{provider.name}: no answer within {limit:g} s")
            except MemqlError as error:
                if error.code is not Code.UNAVAILABLE:
                    raise
                refusals.append(f"{provider.name}: {error.message}")
        raise MemqlError(
            Code.UNAVAILABLE, f"no model answered ({'; '.join(refusals) or f'{route!r} names no enabled provider'})"
        )

    def _chain(self, route: str) -> tuple[list[Provider], float | None]:
        catalog = self._catalog()
        if route in catalog.providers:
            return [catalog.providers[route]], None
        policy = catalog.policies.get(route)
        if policy is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"no provider or policy is called {route!r}", context=route)
        return self._flatten(policy, catalog), (policy.max_latency_ms or 0) / 1000 or None

    def _flatten(self, policy: Policy, catalog: Catalog) -> list[Provider]:
        chain: list[Provider] = []
        for name in (policy.primary, *policy.fallbacks):
            if name in catalog.providers:
                chain.append(catalog.providers[name])
            elif name in catalog.policies:
                chain.extend(self._flatten(catalog.policies[name], catalog))
        return chain

    async def _ask_one(self, provider: Provider, text: str, ctx: RequestContext) -> str:
        auth = {key: await self._auth(provider, value) for key, value in provider.auth.items()}
        client = self._clients.get(provider.type)
        if client is None:
            raise MemqlError(Code.UNAVAILABLE, f"nothing on this node speaks to {provider.type}")
        return await client.complete(provider, auth, text, ctx)

    async def _auth(self, provider: Provider, value: str | ast.EnvRef) -> str:
        if isinstance(value, str):
            return value
        found = await self._credential(value.name)
        if not found:
            raise MemqlError(Code.UNAVAILABLE, f"{value.name} is not set; `memql secret set {value.name}` stores it")
        return found


def decode_answer(text: str) -> Any:
    """A JSON object or list as its value; any other text as it is."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
