"""The ports of model calls: what a provider's client implements, what passes through it, and where others join in
(spec "SI layer").

Clients are registered by provider type, see :class:`memql.engine.tools.models.Models`. The core knows no vendor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from memql.engine.context import RequestContext
from memql.lang.catalog import Provider, Tool

__all__ = [
    "Bound",
    "CallGuard",
    "CallRecord",
    "Capability",
    "ChatClient",
    "ChatEvent",
    "ChatMessage",
    "ChatReply",
    "ChatRequest",
    "ChatRole",
    "Chosen",
    "Credential",
    "CredentialLookup",
    "EmbeddingClient",
    "Embeddings",
    "Finish",
    "KeySource",
    "OfflineRule",
    "Outcome",
    "SuggestionDomain",
    "TextDelta",
    "ToolCallDelta",
    "Usage",
]

ChatRole = Literal["system", "user", "assistant", "tool"]
Capability = Literal["tools", "schema"]
KeySource = Literal["global", "env", "literal", "none"]
"""Where a provider's key came from; ``none`` for one that needs no key."""
Outcome = Literal["ok", "error", "cancelled", "fallback_used"]


# --- credentials -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credential:
    """A value behind ``env("NAME")`` and where it was found."""

    value: str = field(repr=False)
    source: KeySource


CredentialLookup = Callable[[str], Awaitable[Credential | None]]
"""The value of ``env("NAME")``: global secret, global variable, environment, each also without ``MEMQL_SI_``."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A provider with what this call found for its ``auth``; never kept longer than the call."""

    provider: Provider
    auth: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_source: KeySource = "none"


# --- chat ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a conversation; ``name`` tells speakers of one role apart."""

    role: ChatRole
    content: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a chat model is asked.

    ``stream`` is whether the asker shows text as it comes; a client may use it to choose between a vendor's two ways.
    ``tools`` are what the model may call, ``schema`` the JSON Schema that its answer must fit: only clients that have
    the capability of that name are asked then.
    """

    messages: tuple[ChatMessage, ...]
    request_id: str = ""
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    schema: Mapping[str, Any] | None = None

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities a client must have for it."""
        wanted: dict[Capability, bool] = {"tools": bool(self.tools), "schema": self.schema is not None}
        return frozenset(name for name, needed in wanted.items() if needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Who answers: the first event of every answer. ``policy`` is the routing policy that led there, if any."""

    provider: str
    model: str
    policy: str = ""
    degraded: str = ""
    """``no_model`` when no language model answers."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of a tool call: the first names the tool, each brings more of the argument's JSON text."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of an answer, with what belongs to it besides the text: ``citations``, ``tool``, ``error``..."""

    reason: str = "stop"
    metadata: Mapping[str, Any] = field(default_factory=dict)


ChatEvent: TypeAlias = Chosen | TextDelta | ToolCallDelta | Usage | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A whole answer; :func:`memql.engine.tools.models.reply_metadata` makes what travels beside its text."""

    text: str
    chosen: Chosen
    usage: Usage | None
    finish: Finish


class ChatClient(Protocol):
    """Chat for the providers of one type."""

    capabilities: ClassVar[frozenset[Capability]]
    """What it can do besides text."""

    def chat(self, bound: Bound, request: ChatRequest, ctx: RequestContext) -> AsyncIterator[ChatEvent]:
        """Answer: text and tool calls as they come, usage when it is known, :class:`Finish` last.

        An async generator: it is closed by whoever stops reading, and stops its work then.

        :raises MemqlError: an id of :mod:`memql.engine.tools.model_errors`.
        """
        ...


# --- embeddings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of one space: ``model`` and ``dims`` name it, vectors of different spaces are never compared.

    Each vector is a sequence of 32-bit floats of length one, in the order of the texts.
    """

    model: str
    dims: int
    vectors: Sequence[Sequence[float]]


class EmbeddingClient(Protocol):
    """Embeddings for the providers of one type."""

    async def embed(self, bound: Bound, texts: Sequence[str], ctx: RequestContext) -> Embeddings:
        """One vector per text.

        :raises MemqlError: an id of :mod:`memql.engine.tools.model_errors`.
        """
        ...


# --- suggestions and offline answers ---------------------------------------------------------------------------------


class SuggestionDomain(Protocol):
    """What answers ``si_suggest`` for one domain."""

    async def __call__(self, payload: Mapping[str, Any], ctx: RequestContext) -> Mapping[str, Any]:
        """The suggestion, a JSON object.

        :raises MemqlError: ``INVALID_ARGUMENT`` for a payload that does not fit, and what its work raises.
        """
        ...


OfflineRule = Callable[[Mapping[str, Any], RequestContext], Awaitable[Any]]
"""What answers a prompt, from its fields, when no provider of its route has a key."""


# --- what every call passes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One try of one provider, as a ledger keeps it; it holds no text of the request or the answer."""

    request_id: str
    actor: str
    modality: str
    provider: str
    type: str
    model: str
    policy: str
    key_source: KeySource
    prompt: str = ""
    outcome: Outcome = "ok"
    error: str = ""
    usage: Usage | None = None
    duration_ms: int = 0
    first_token_ms: int | None = None


class CallGuard(Protocol):
    """What stands before calls that leave this node, and hears of them after: budgets, ceilings, the ledger."""

    async def admit(self, planned: CallRecord, request: ChatRequest | Sequence[str], ctx: RequestContext) -> None:
        """Let the call through.

        :raises MemqlError: ``si.budget_exceeded``, ``si.kill_switch``, ``si.scope_latched``, ``si.rate_ceiling`` or
            ``si.loop_blocked``; no other provider is tried then.
        """
        ...

    def settle(self, record: CallRecord) -> None:
        """Take note of how an admitted call ended; must not wait."""
        ...
