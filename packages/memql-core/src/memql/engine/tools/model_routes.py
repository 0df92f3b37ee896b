"""Which provider answers a model call: one resolver for chat, prompts and embeddings (spec "Resolution, policies,
fallback").

The first name that was given decides: what the caller asked for, then what stands with the prompt or the agent, then
the default of the modality. Only when no provider it leads to has a key does an offline one answer (spec "No key at
all").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from memql.engine.tools.model_errors import si_error
from memql.engine.tools.model_ports import Bound, CredentialLookup, KeySource
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Policy, Provider

__all__ = ["DEFAULTS", "OFFLINE", "Chain", "Modality", "Resolver", "is_local", "modality_of"]

Modality = Literal["chat", "embedding"]

OFFLINE: Final[Mapping[Modality, str]] = {"chat": "extractive", "embedding": "localEmbed"}
"""The providers of the packaged tree that need no key."""

DEFAULTS: Final[Mapping[Modality, str]] = {
    "chat": "MEMQL_DEFAULT_CHAT_PROVIDER",
    "embedding": "MEMQL_DEFAULT_EMBEDDING_PROVIDER",
}
"""The variable that names the default of a modality: a global variable, else the setting."""

_LOCAL_TYPES: Final = frozenset({"localextractive", "localembedding", "localstt", "localtts"})
_OPTIONAL: Final = frozenset({"projectId"})
_STORES: Final = ("global secret", "global variable", "environment")


def is_local(provider: Provider) -> bool:
    """Whether it computes on this node, without a vendor."""
    return provider.type.casefold() in _LOCAL_TYPES


def modality_of(provider: Provider) -> str:
    """What it does; ``text`` is another word for ``chat``."""
    return "chat" if provider.modality == "text" else provider.modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Whom to ask, in order. ``missing`` are entries without a key: name and error. Times are seconds for one provider,
    None is no limit."""

    bound: tuple[Bound, ...]
    missing: tuple[tuple[str, MemqlError], ...] = ()
    policy: str = ""
    total_limit: float | None = None
    first_limit: float | None = None


class Resolver:
    """See the module.

    :param variable: the value of a global variable.
    :param defaults: provider or policy names by modality, from the settings; empty ones count as absent.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        credential: CredentialLookup,
        variable: Callable[[str], Awaitable[str | None]],
        defaults: Mapping[str, str],
    ) -> None:
        self._catalog = catalog
        self._credential = credential
        self._variable = variable
        self._defaults = defaults

    async def chain(self, modality: Modality, names: Iterable[str], *, offline: bool) -> Chain:
        """Resolve.

        :param names: providers or routing policies in order of precedence; the first that is not empty counts.
        :param offline: whether an offline provider may answer when no key is found.
        :raises MemqlError: ``si.invalid_request`` for a name that is no provider or policy of the modality,
            ``si.auth_missing`` or ``si.no_provider`` when nobody can be asked, and what a stored key that cannot be
            opened raises.
        """
        name = next((name for name in names if name), "")
        if not name:
            return await self._default_chain(modality, offline=offline)
        return await self._named_chain(modality, name, offline=offline)

    # --- by name ---------------------------------------------------------------------------------------------------

    async def _named_chain(self, modality: Modality, name: str, *, offline: bool) -> Chain:
        catalog = self._catalog()
        policy = catalog.policies.get(name)
        if policy is None or not policy.primary:
            provider = self._provider(catalog, name, modality)
            return await self._bind(modality, [provider], None, offline=offline)
        providers = [self._provider(catalog, one, modality) for one in _flatten(policy, catalog)]
        return await self._bind(modality, providers, policy, offline=offline)

    def _provider(self, catalog: Catalog, name: str, modality: Modality) -> Provider:
        provider = catalog.providers.get(name)
        if provider is None:
            known = sorted(_callable_names(catalog, modality))
            raise _unknown(name, known)
        if provider.base:
            raise si_error("si.invalid_request", f"{name} is a base and cannot be called; name one that extends it")
        if modality_of(provider) != modality:
            raise si_error(
                "si.invalid_request", f"{name} is a provider for {modality_of(provider)}; this call needs {modality}"
            )
        return provider

    # --- by default ------------------------------------------------------------------------------------------------

    async def _default_chain(self, modality: Modality, *, offline: bool) -> Chain:
        variable = DEFAULTS[modality]
        name = await self._variable(variable) or self._defaults.get(modality, "")
        if name:
            try:
                return await self._named_chain(modality, name, offline=offline)
            except MemqlError as error:
                if error.code is not Code.INVALID_ARGUMENT:
                    raise
                raise si_error("si.no_provider", f"{variable} is {name!r}: {error.message}") from error
        providers = _by_default(self._catalog(), modality)
        missing: list[tuple[str, MemqlError]] = []
        for provider in providers:
            try:
                return Chain(bound=(await self._bound(provider),))
            except MemqlError as error:
                _note_missing(missing, provider, error)
        return self._without_key(modality, missing, offline=offline)

    # --- keys ------------------------------------------------------------------------------------------------------

    async def _bind(
        self, modality: Modality, providers: list[Provider], policy: Policy | None, *, offline: bool
    ) -> Chain:
        bound: list[Bound] = []
        missing: list[tuple[str, MemqlError]] = []
        for provider in providers:
            try:
                bound.append(await self._bound(provider))
            except MemqlError as error:
                _note_missing(missing, provider, error)
        if not bound:
            return self._without_key(modality, missing, offline=offline)
        return Chain(
            bound=tuple(bound),
            missing=tuple(missing),
            policy=policy.name if policy else "",
            total_limit=(policy.max_latency_ms or 0) / 1000 or None if policy else None,
            first_limit=(policy.max_time_to_first_token_ms or 0) / 1000 or None if policy else None,
        )

    def _without_key(self, modality: Modality, missing: list[tuple[str, MemqlError]], *, offline: bool) -> Chain:
        local = self._catalog().providers.get(OFFLINE[modality])
        if offline and local is not None:
            return Chain(bound=(Bound(local),))
        if len(missing) == 1:
            raise missing[0][1]
        names = [name for _, error in missing for name in error.details["variables"]]
        wanted = f"set one of {', '.join(dict.fromkeys(names))}" if names else "the tree declares none; add a provider"
        raise si_error(
            "si.no_provider",
            f"no provider for {modality} has a key: {wanted}",
            details={"variables": list(dict.fromkeys(names)), "stores": list(_STORES)},
        )

    async def _bound(self, provider: Provider) -> Bound:
        auth: dict[str, str] = {}
        source: KeySource = "none"
        for name, value in provider.auth.items():
            if not isinstance(value, ast.EnvRef):
                auth[name] = value
                source = "literal" if name == "apiKey" else source
                continue
            found = await self._credential(value.name)
            if found is not None and found.value:
                auth[name] = found.value
                source = found.source if name == "apiKey" or source == "none" else source
            elif name not in _OPTIONAL:
                raise _auth_missing(value.name)
        return Bound(provider, auth, source)


def _note_missing(missing: list[tuple[str, MemqlError]], provider: Provider, error: MemqlError) -> None:
    if error.details.get("si") != "si.auth_missing":
        raise error
    missing.append((provider.name, error))


def _auth_missing(name: str) -> MemqlError:
    return si_error(
        "si.auth_missing",
        f"{name} is not set; `memql secret set {name}` stores it",
        details={"variables": [name], "stores": list(_STORES)},
    )


def _unknown(name: str, known: list[str]) -> MemqlError:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    error = si_error("si.invalid_request", f"no provider or policy is called {name!r}; {hint}")
    error.context = name
    if near:
        error.suggestion["didYouMean"] = near
    return error


def _callable_names(catalog: Catalog, modality: Modality) -> Iterator[str]:
    yield from (one.key for one in catalog.providers.values() if not one.base and modality_of(one) == modality)
    yield from (policy.key for policy in catalog.policies.values() if policy.primary)


def _flatten(policy: Policy, catalog: Catalog) -> list[str]:
    """The providers of a policy and of those it names, each once."""
    names: dict[str, None] = {}
    for name in (policy.primary, *policy.fallbacks):
        inner = catalog.policies.get(name)
        names.update(dict.fromkeys([name] if inner is None else _flatten(inner, catalog)))
    return list(names)


def _by_default(catalog: Catalog, modality: Modality) -> list[Provider]:
    """The providers of a modality in the order of trial: the ``@default``, then the others by name."""
    found = [
        one for one in catalog.providers.values() if not one.base and not is_local(one) and modality_of(one) == modality
    ]
    return sorted(found, key=lambda one: (not one.default, one.key))
