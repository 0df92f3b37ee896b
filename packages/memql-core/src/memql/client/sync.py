"""The client for code without an event loop: the same calls, each waiting for its answer.

One thread with an event loop of its own carries the connection. ``with connect(...) as client`` opens and
closes both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from memql.client import _client, model
from memql.client._models import Messages
from memql.client._subscription import EventStream as AsyncEventStream
from memql.client.results import Result, Row

__all__ = ["Client", "EventStream", "connect"]

_T = TypeVar("_T")
_END = object()


class _Caller:
    """Runs coroutine functions on the client's thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def __call__(self, function: Callable[..., Awaitable[_T]], /, *args: Any, **kwargs: Any) -> _T:
        return self._portal.call(partial(function, *args, **kwargs))

    def iterate(self, source: Any) -> Iterator[Any]:
        """The items of an asynchronous iterator; leaving early closes it."""
        try:
            while (item := self._portal.call(_next_or_end, source)) is not _END:
                yield item
        finally:
            self._portal.call(source.aclose)


async def _next_or_end(source: Any) -> Any:
    return await anext(source, _END)


class EventStream:
    """The events of one subscription, to iterate over."""

    def __init__(self, stream: AsyncEventStream, call: _Caller) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> model.Event:
        event = self._call(_next_or_end, self._stream)
        if event is _END:
            raise StopIteration
        return event  # type: ignore[no-any-return]

    def next(self, timeout: float | None = None) -> model.Event:
        """The next event; ``TIMEOUT`` when none comes within ``timeout`` seconds."""
        return self._call(self._stream.next, timeout)


class Tools:
    """See :class:`memql.client.Client`."""

    def __init__(self, client: _client.Client, call: _Caller) -> None:
        self._tools = client.tools
        self._call = call

    def list(self) -> list[model.Tool]:
        """Every tool that the caller may call."""
        return self._call(self._tools.list)

    def call(self, name: str, /, **args: Any) -> model.ToolResult:
        """Call a tool."""
        return self._call(self._tools.call, name, **args)


class SI:
    """Model calls; see :class:`memql.client._models.SI`."""

    def __init__(self, client: _client.Client, call: _Caller) -> None:
        self._si = client.si
        self._call = call

    def chat(self, messages: Messages, provider: str | None = None, *, timeout: float = 120.0) -> model.ChatReply:
        """The whole answer to a conversation."""
        return self._call(self._si.chat, messages, provider, timeout=timeout)

    def stream(
        self, messages: Messages, provider: str | None = None, *, timeout: float = 120.0
    ) -> Iterator[model.ChatDelta]:
        """The answer as it comes, the whole last."""
        return self._call.iterate(self._si.stream(messages, provider, timeout=timeout))

    def suggest(
        self, domain: str, payload: Mapping[str, Any] | None = None, *, timeout: float = 120.0
    ) -> dict[str, Any]:
        """What a domain suggests."""
        return self._call(self._si.suggest, domain, payload, timeout=timeout)

    def embed(self, texts: Sequence[str], provider: str | None = None, *, timeout: float = 120.0) -> model.Embeddings:
        """One vector per text."""
        return self._call(self._si.embed, texts, provider, timeout=timeout)


class Sense:
    """What an editor asks about memQL source."""

    def __init__(self, client: _client.Client, call: _Caller) -> None:
        self._sense = client.sense
        self._call = call

    def tokenize(self, source: str) -> list[model.Token]:
        """The tokens of a text."""
        return self._call(self._sense.tokenize, source)

    def complete(self, source: str, position: model.Position, path: str = "") -> list[model.Completion]:
        """What could stand at a cursor."""
        return self._call(self._sense.complete, source, position, path)

    def diagnose(self, source: str, path: str = "") -> list[model.Diagnostic]:
        """The problems of a text."""
        return self._call(self._sense.diagnose, source, path)

    def hover(self, source: str, position: model.Position, path: str = "") -> model.Hover | None:
        """What is known about the thing at a position."""
        return self._call(self._sense.hover, source, position, path)

    def signature_help(self, source: str, position: model.Position, path: str = "") -> model.SignatureHelp:
        """The signatures of the call at a position."""
        return self._call(self._sense.signature_help, source, position, path)

    def definition(self, source: str, position: model.Position, path: str = "") -> list[model.Definition]:
        """Where the thing at a position is declared."""
        return self._call(self._sense.definition, source, position, path)


class Client:
    """A connection to a memQL node; open one with :func:`connect`. Safe for many threads."""

    def __init__(self, client: _client.Client, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal
        self._call = _Caller(portal)
        self.tools = Tools(client, self._call)
        self.sense = Sense(client, self._call)
        self.si = SI(client, self._call)

    @property
    def server(self) -> model.ServerInfo:
        """The node that answers now."""
        return self._client.server

    @property
    def status(self) -> model.Status:
        """``connected``, ``reconnecting`` or ``closed``."""
        return self._client.status

    def query(self, name: str, /, **args: Any) -> Result:
        """Call a named construct; see :meth:`memql.client.Client.query`."""
        return self._call(self._client.call, name, args)

    def call(
        self, name: str, args: Mapping[str, Any], *, read: bool | None = None, timeout: float | None = None
    ) -> Result:
        """As :meth:`query`, with the arguments as a mapping."""
        return self._call(self._client.call, name, args, read=read, timeout=timeout)

    def execute(
        self,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        client_id: str | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Run raw query text; see :meth:`memql.client.Client.execute`."""
        return self._call(self._client.execute, text, variables, client_id=client_id, cursor=cursor, timeout=timeout)

    def pages(self, name: str, /, *, page_size: int = 200, **args: Any) -> Iterator[Row]:
        """Every row of a named query, fetched page by page."""
        return self._call.iterate(self._client.pages(name, page_size=page_size, **args))

    @contextmanager
    def subscribe(
        self,
        concept: str | None = None,
        actions: Sequence[str] = (),
        *,
        kind: str | None = None,
        filter: str = "",
        resume_after: str | None = None,
        buffer: int = 1024,
    ) -> Iterator[EventStream]:
        """Events for the length of a ``with`` block; see :meth:`memql.client.Client.subscribe`."""
        subscription = self._client.subscribe(
            concept, actions, kind=kind, filter=filter, resume_after=resume_after, buffer=buffer
        )
        with self._portal.wrap_async_context_manager(subscription) as events:
            yield EventStream(events, self._call)

    def evaluate_policy(
        self, name: str, args: Mapping[str, Any] | None = None, *, trace: bool = False
    ) -> model.PolicyResult:
        """Evaluate a decision policy."""
        return self._call(self._client.policies.evaluate, name, args, trace=trace)

    def run_automation(
        self, name: str, payload: Mapping[str, Any] | None = None, target: str | None = None, **options: Any
    ) -> Iterator[model.RunEvent]:
        """Run an automation and follow it; options as for :meth:`memql.client.Client.automations.run`."""
        return self._call.iterate(self._client.automations.run(name, payload, target, **options))

    def my_access(self) -> model.Access:
        """Who the server takes this client for."""
        return self._call(self._client.my_access)

    def concepts(self) -> list[model.Concept]:
        """Every registered concept."""
        return self._call(self._client.concepts)

    def rotate_auth(self, token: str) -> None:
        """Change the credential of the open stream."""
        self._call(self._client.rotate_auth, token)

    def drain_node(self, reason: str = "") -> model.DrainResult:
        """Have the node finish what it runs and take nothing new."""
        return self._call(self._client.node.drain, reason)


@contextmanager
def connect(
    address: str | Sequence[str],
    token: str | None = None,
    *,
    ca_file: str | Path | None = None,
    reconnect: model.Reconnect | None = None,
    timeout: float = 30.0,
) -> Iterator[Client]:
    """Connect for the length of a ``with`` block; see :func:`memql.client.connect`."""
    opening = _client.connect(address, token, ca_file=ca_file, reconnect=reconnect, timeout=timeout)
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(opening) as client:
        yield Client(client, portal)
