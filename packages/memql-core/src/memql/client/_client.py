"""The facade of the SDK: ``connect`` and the client it opens (spec "Python client")."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import anyio

from memql.client._codec import call_text, plain_arguments
from memql.client._credentials import TokenSource
from memql.client._families import Automations, Node, Policies, Sense, Tools
from memql.client._models import SI
from memql.client._session import Session
from memql.client._subscription import EventStream, Subscription
from memql.client._target import parse_addresses
from memql.client._tool_calls import ClientTools
from memql.client.model import Access, Concept, Concepts, Reconnect, ServerInfo, Status
from memql.client.results import Result, Row
from memql.errors import Code, MemqlError
from memql.wire import messages
from memql.wire.frames import QueryRequest

__all__ = ["Client", "connect"]

_F = TypeVar("_F", bound=Callable[[], Any])


class Client:
    """A connection to a memQL node; open one with :func:`connect`. Safe for many tasks of one event loop."""

    def __init__(self, session: Session, client_tools: ClientTools) -> None:
        self._session = session
        self.tools = Tools(session, client_tools)
        self.sense = Sense(session)
        self.si = SI(session)
        self.policies = Policies(session)
        self.automations = Automations(session)
        self.node = Node(session)

    @property
    def server(self) -> ServerInfo:
        """The node that answers now; another one after a reconnect."""
        server = self._session.server
        assert server is not None
        return server

    @property
    def status(self) -> Status:
        """``connected``, ``reconnecting`` or ``closed``."""
        return self._session.status

    def on_reconnect(self, callback: _F) -> _F:
        """Have ``callback`` called (and awaited) after a lost stream is back and subscriptions are
        replayed."""
        self._session.reconnect_callbacks.append(callback)
        return callback

    # --- queries ---

    async def query(self, name: str, /, **args: Any) -> Result:
        """Call a named construct: a query, a mutation, a logic or a builtin.

        :raises MemqlError: what the server answered; ``UNAVAILABLE`` when the stream was lost (queries are
            sent once more first), ``TIMEOUT`` after the client's time limit.
        """
        return await self.call(name, args)

    async def call(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        read: bool | None = None,
        timeout: float | None = None,
    ) -> Result:
        """As :meth:`query`, with the arguments as a mapping.

        :param read: whether the call only reads and may be sent again when the stream is lost; by the name's
            convention unless given.
        :param timeout: seconds; the client's time limit unless given.
        """
        text, variables = call_text(name, plain_arguments(args))
        return await self._run(QueryRequest(query=text, variables=variables), read, timeout)

    async def execute(
        self,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        client_id: str | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Run raw query text.

        :param variables: the values of ``$name`` in the text; they are bound, never pasted.
        :param client_id: an id that the result's meta echoes.
        :param cursor: of the meta of the page before: the next page of the same text with the same variables.
        :param timeout: seconds; the client's time limit unless given.
        :raises MemqlError: as for :meth:`query`.
        """
        plain = plain_arguments(variables or {})
        request = QueryRequest(query=text, variables=plain, client_id=client_id or "", cursor=cursor or "")
        return await self._run(request, None, timeout)

    async def pages(self, name: str, /, *, page_size: int = 200, **args: Any) -> AsyncIterator[Row]:
        """Every row of a named query, fetched page by page while they are read.

        Rows inserted meanwhile neither repeat nor hide rows: a page continues after the last row of the one
        before.
        """
        if page_size < 1:
            raise MemqlError(Code.INVALID_ARGUMENT, f"page_size is {page_size}; it must be at least 1")
        text, variables = call_text(name, plain_arguments(args))
        request = QueryRequest(query=f"paginate({text}, {page_size})", variables=variables)
        while True:
            page = await self._run(request, True, None)
            for row in page.rows:
                yield row
            if not page.meta.has_more:
                return
            request.cursor = page.meta.cursor

    async def _run(self, request: QueryRequest, read: bool | None, timeout: float | None) -> Result:
        return Result(await self._session.rows(request, read=read, timeout=timeout))

    # --- subscriptions ---

    def subscribe(
        self,
        concept: str | None = None,
        actions: Sequence[str] = (),
        *,
        kind: str | None = None,
        filter: str = "",
        resume_after: str | None = None,
        buffer: int = 1024,
    ) -> AbstractAsyncContextManager[EventStream]:
        """Events from now on, or from a cursor on, for the length of a ``with`` block.

        The subscription outlives a lost stream: it is sent again with the cursor of the last event.

        :param concept: a concept id, empty for all; with ``actions`` out of created, updated, deleted (none:
            all).
        :param kind: graph_events (the default), domain_events, automation_events, telemetry, message,
            query_spec, ai_stream or all.
        :param filter: a topic pattern under the kind's root, instead of ``concept`` and ``actions``.
        :param resume_after: the cursor of the last event seen.
        :param buffer: events that may wait here; when more do, the oldest go and the next says
            ``gap_before``.
        """
        subscription = Subscription(
            uuid.uuid4().hex,
            kind=kind,
            filter=filter,
            concept=concept,
            actions=actions,
            resume_after=resume_after,
            buffer=buffer,
        )
        return self._subscribed(subscription)

    @asynccontextmanager
    async def _subscribed(self, subscription: Subscription) -> AsyncIterator[EventStream]:
        await self._session.subscribe(subscription)
        try:
            yield EventStream(subscription)
        finally:
            self._session.unsubscribe(subscription)
            subscription.end(None)

    # --- the caller and the tree ---

    async def rotate_auth(self, token: str) -> None:
        """Change the credential of the open stream without losing it.

        :raises MemqlError: ``UNAUTHENTICATED`` when the server refuses it; the old one stays in force.
        """
        await self._session.rotate(token)

    async def my_access(self) -> Access:
        """Who the server takes this client for."""
        result = await self._session.ask(messages.MyAccessMsg(), messages.MyAccessResult, read=True, timeout=None)
        role = (result.cluster_role.name or "").lower()
        return Access(
            user_id=result.user_id,
            primary_email=result.primary_email,
            role="" if role == "unspecified" else role,
        )

    async def concepts(self) -> list[Concept]:
        """Every registered concept."""
        return list((await self.concepts_and_topics()).concepts)

    async def concepts_and_topics(self) -> Concepts:
        """Every registered concept, and the topics beside theirs."""
        result = await self._session.ask(
            messages.ConceptsListMsg(), messages.ConceptsListResult, read=True, timeout=None
        )
        return Concepts(
            concepts=tuple(map(_concept, result.concepts)),
            base_topics=tuple(result.base_topics),
            system_topics=tuple(result.system_topics),
        )


def _concept(concept: messages.ConceptDescriptor) -> Concept:
    card = concept.display_card
    members = {} if card is None else card.to_dict()
    return Concept(
        id=concept.id,
        version=concept.version,
        domain=concept.domain,
        entity=concept.entity,
        description=concept.description,
        type=concept.type,
        display_card={name: value for name, value in members.items() if value},
    )


@asynccontextmanager
async def connect(
    address: str | Sequence[str],
    token: TokenSource = None,
    *,
    ca_file: str | Path | None = None,
    reconnect: Reconnect | None = None,
    timeout: float = 30.0,
) -> AsyncIterator[Client]:
    """Connect to a memQL node for the length of a ``with`` block.

    :param address: ``host:port`` or ``grpc://`` (plaintext gRPC), ``grpcs://`` (TLS), ``ws://`` or ``wss://``
        (the WebSocket bridge). Of several, as a sequence or with commas between them, the first that answers is
        used; a stream that is lost, or whose node drains, goes on at the next.
    :param token: a credential, or a coroutine function that is asked for one on every dial and a minute
        before a JWT expires; without a scheme it is a bearer token.
    :param ca_file: certificate authorities (PEM) to trust instead of the system's.
    :param reconnect: how a lost stream is dialled again.
    :param timeout: seconds for the first dial, shared by the addresses, and for each request.
    :raises MemqlError: ``UNAVAILABLE`` when nothing answers, ``UNAUTHENTICATED`` or ``FORBIDDEN`` when the
        credential is refused.
    """
    addresses = parse_addresses(address, ca_file)
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as group:
            client_tools = ClientTools(group)
            session = Session(
                addresses,
                token,
                reconnect or Reconnect(),
                timeout,
                metadata.version("memql-core"),
                client_tools.dispatch,
            )
            await group.start(session.run, name="memql client session")
            try:
                yield Client(session, client_tools)
            except Exception as error:
                # Raised again outside of the group, which would wrap it.
                failure = error
            session.close()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        raise _only(errors) from None
    if failure is not None:
        raise failure


def _only(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group that holds one, else the group."""
    inner: BaseException = errors
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
