"""What a client hands out and takes in: plain frozen values, no protobuf types (spec "Python client")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

__all__ = [
    "Access",
    "ChatDelta",
    "ChatMessage",
    "ChatReply",
    "Citation",
    "ClientToolCall",
    "Completion",
    "Concept",
    "Concepts",
    "ContentItem",
    "Definition",
    "Diagnostic",
    "DrainResult",
    "Embeddings",
    "Event",
    "Hover",
    "Parameter",
    "PolicyResult",
    "Position",
    "Reconnect",
    "RunEvent",
    "ServerInfo",
    "Signature",
    "SignatureHelp",
    "SourceRange",
    "Status",
    "Token",
    "Tool",
    "ToolResult",
]

Status = Literal["connected", "reconnecting", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How a lost stream is dialled again: after ``initial`` seconds, doubling to ``maximum``, with jitter.

    ``attempts`` bounds the tries in a row (None: no bound); a stream that held for ``stable_after`` seconds
    starts the count and the delay anew.
    """

    initial: float = 1.0
    maximum: float = 30.0
    attempts: int | None = None
    stable_after: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The node at the other end, from its hello."""

    node_id: str
    version: str
    engine_version: str
    session_id: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who the server takes this client for. ``role`` is the lower-case name, empty when there is none."""

    user_id: str
    primary_email: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A registered concept. ``display_card`` maps primary, secondary, tertiary and status to field names."""

    id: str
    version: str
    domain: str
    entity: str
    description: str
    type: str
    display_card: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concepts:
    """All concepts, with the topics that can be subscribed to beside theirs."""

    concepts: tuple[Concept, ...]
    base_topics: tuple[str, ...]
    system_topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a subscription.

    ``seq`` counts from 1 and starts anew when the stream is dialled again. ``gap_before`` says that events
    before this one were lost, at the server or in this process. ``cursor`` resumes after it.
    """

    topic: str
    kind: str
    ts: datetime | None
    payload: Mapping[str, Any]
    seq: int
    gap_before: bool
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the caller may call; ``input_schema`` is JSON Schema."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    client_execution: bool
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentItem:
    """One item of a tool's result; ``type`` is text, image, resource or json; ``data`` is base64 for
    images.
    """

    type: str
    text: str = ""
    mime_type: str = ""
    data: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered. A tool's own failure is ``is_error``, not an exception."""

    content: tuple[ContentItem, ...]
    is_error: bool

    @property
    def text(self) -> str:
        """The texts of all items, joined by newlines."""
        return "\n".join(item.text for item in self.content if item.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientToolCall:
    """A tool that the server asks this client to execute."""

    call_id: str
    turn_id: str
    agent_id: str
    tool: str
    arguments: Mapping[str, Any]
    timeout: float
    """Seconds until the server stops waiting."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a source text, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class SourceRange:
    """From ``start`` up to, not including, ``end``."""

    start: Position
    end: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of a source text."""

    type: str
    literal: str
    range: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One proposal at a cursor."""

    label: str
    kind: str
    detail: str
    documentation: str
    insert_text: str
    sort_priority: int
    is_snippet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One problem of a source text; ``severity`` is error, warning, info or hint."""

    range: SourceRange
    severity: str
    message: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hover:
    """What is known about the thing at a position; ``contents`` is Markdown."""

    contents: str
    range: SourceRange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a signature."""

    label: str
    documentation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to call something."""

    label: str
    documentation: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureHelp:
    """The signatures at a position and which one and which parameter is being written."""

    signatures: tuple[Signature, ...]
    active_signature: int
    active_parameter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Where something is declared."""

    file: str
    kind: str
    range: SourceRange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """The value of a decision policy, and its trace when asked for."""

    value: Any
    trace: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One event of an automation's run: accepted first, then steps, complete last.

    ``status`` and ``error`` are of the step or the run, ``output`` of a step when asked for,
    ``duration_ms`` of either.
    """

    kind: Literal["accepted", "step", "complete"]
    run_id: str
    automation: str = ""
    step: str = ""
    status: str = ""
    duration_ms: int = 0
    output: Mapping[str, Any] | None = None
    error: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a conversation; ``role`` is system, user, assistant or tool."""

    content: str
    role: str = "user"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A row that an answer quotes, the field it quotes, and how near that is to the question, at most 1."""

    concept_id: str
    id: str
    field: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A whole answer. ``degraded`` is ``no_model`` when no language model wrote it; ``metadata`` has all that came
    beside the text."""

    text: str
    provider: str = ""
    model: str = ""
    degraded: str = ""
    citations: tuple[Citation, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDelta:
    """A piece of an answer as it comes; the last one has no text but the whole ``reply``."""

    index: int = 0
    text: str = ""
    reply: ChatReply | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of length one in the order of their texts; those of different models are never compared."""

    model: str
    dims: int
    vectors: list[list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainResult:
    """Whether a node took the order to drain."""

    ok: bool
    already_draining: bool
    node_id: str
    state: str
