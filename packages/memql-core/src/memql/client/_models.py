"""Model calls of a client: chat, whole and as it comes, and suggestions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

from memql.client._codec import plain_arguments
from memql.client._link import LinkLostError
from memql.client._session import Session
from memql.client.model import ChatDelta, ChatMessage, ChatReply, Citation, Embeddings
from memql.errors import Code, MemqlError
from memql.wire import messages
from memql.wire.frames import Frame, SuggestionFrame
from memql.wire.structs import from_struct, to_struct

__all__ = ["SI", "Messages"]

_TIMEOUT: Final = 120.0

Messages: TypeAlias = str | ChatMessage | Iterable[ChatMessage | Mapping[str, str]]
"""A conversation, oldest first; a text is one message of the user."""


class SI:
    """Model calls. A node without a model says so: ``reply.degraded`` is ``no_model`` then."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def chat(self, messages: Messages, provider: str | None = None, *, timeout: float = _TIMEOUT) -> ChatReply:
        """The whole answer to a conversation.

        :param provider: a provider or routing policy; the node's default unless given.
        :raises MemqlError: what the server answered; ``details["si"]`` tells kinds of failure apart.
        """
        message = _request(messages, provider, stream=False)
        return _reply(await self._session.ask(message, _CHAT_RESULT, read=False, timeout=timeout))

    async def stream(
        self, messages: Messages, provider: str | None = None, *, timeout: float = _TIMEOUT
    ) -> AsyncIterator[ChatDelta]:
        """The answer as it comes: pieces of text, and last a delta with ``reply``, the whole.

        Leaving the iteration early cancels the request; errors as for :meth:`chat`.
        """
        message = _request(messages, provider, stream=True)
        link, flow, request_id = await self._session.open_flow(message, _is_last, timeout)
        try:
            async with aclosing(flow.frames):
                async for frame in flow.frames:
                    if (delta := _delta(frame)) is not None:
                        yield delta
            if flow.error is not None:
                raise flow.error.error if isinstance(flow.error, LinkLostError) else flow.error
        finally:
            link.close_flow(flow, request_id)

    async def suggest(
        self, domain: str, payload: Mapping[str, Any] | None = None, *, timeout: float = _TIMEOUT
    ) -> dict[str, Any]:
        """What a domain suggests, such as ``embedding`` or ``similar``.

        :raises MemqlError: ``INVALID_ARGUMENT`` for an unknown domain, naming those there are, and other errors as for
            :meth:`chat`.
        """
        message = messages.SiSuggestMsg(domain=domain, payload=to_struct(plain_arguments(payload or {})))
        frame = await self._session.ask_frame(message, read=True, timeout=timeout)
        if frame.name != "si_suggest_result":
            raise MemqlError(Code.INTERNAL, f"the server answered a suggestion with {frame.name!r}")
        return dict(SuggestionFrame.decode(frame.body).result)

    async def embed(
        self, texts: Sequence[str], provider: str | None = None, *, timeout: float = _TIMEOUT
    ) -> Embeddings:
        """One vector per text, of length one; errors as for :meth:`suggest`."""
        payload = {"texts": list(texts), **({"provider": provider} if provider else {})}
        found = await self.suggest("embedding", payload, timeout=timeout)
        return Embeddings(model=found["model"], dims=found["dims"], vectors=found["vectors"])


_CHAT_RESULT: Final = messages.SiChatResult


def _request(conversation: Messages, provider: str | None, *, stream: bool) -> messages.SiChatMsg:
    if isinstance(conversation, str):
        conversation = [ChatMessage(content=conversation)]
    elif isinstance(conversation, ChatMessage):
        conversation = [conversation]
    return messages.SiChatMsg(messages=[_message(one) for one in conversation], provider=provider or "", stream=stream)


def _message(message: ChatMessage | Mapping[str, str]) -> messages.SiChatMessage:
    if isinstance(message, ChatMessage):
        return messages.SiChatMessage(role=message.role, content=message.content, name=message.name)
    if unknown := message.keys() - {"role", "content", "name"}:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"a message has role, content and name, not {', '.join(sorted(unknown))}"
        )
    return messages.SiChatMessage(
        role=message.get("role", "user"), content=message.get("content", ""), name=message.get("name", "")
    )


def _is_last(frame: Frame) -> bool:
    return frame.name != "si_chunk"


def _delta(frame: Frame) -> ChatDelta | None:
    message = frame.message()
    if isinstance(message, messages.SiChatResult):
        return ChatDelta(reply=_reply(message))
    if not isinstance(message, messages.SiStreamChunk):
        raise MemqlError(Code.INTERNAL, f"the server answered a chat with {frame.name!r}")
    # The last chunk has no text; what it tells comes with the whole answer.
    return None if message.text_delta is None else ChatDelta(index=message.index, text=message.text_delta)


def _reply(result: messages.SiChatResult) -> ChatReply:
    metadata = from_struct(result.metadata)
    source = metadata.get("source") or {}
    return ChatReply(
        text="" if result.message is None else result.message.content,
        provider=source.get("provider", ""),
        model=source.get("model", ""),
        degraded=source.get("degraded", ""),
        citations=tuple(_citation(one) for one in metadata.get("citations") or ()),
        metadata=metadata,
    )


def _citation(citation: Mapping[str, Any]) -> Citation:
    return Citation(
        concept_id=citation.get("conceptId", ""),
        id=citation.get("id", ""),
        field=citation.get("field", ""),
        similarity=float(citation.get("similarity", 0.0)),
    )
