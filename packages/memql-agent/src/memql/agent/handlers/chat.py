"""``si_chat``: a conversation in, an answer out, whole or as it comes (spec "Tools and SI")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final, get_args

from memql.agent.handlers.common import context, failed, models
from memql.engine.tools.model_errors import si_error
from memql.engine.tools.model_ports import (
    ChatEvent,
    ChatMessage,
    ChatRequest,
    ChatRole,
    Chosen,
    Finish,
    TextDelta,
    Usage,
)
from memql.engine.tools.models import reply_metadata
from memql.ids import new_id
from memql.server.replies import Payload
from memql.server.routing import TOOL_TIMEOUT, Route
from memql.server.session import Call
from memql.wire.messages import SiChatMessage, SiChatResult, SiStreamChunk
from memql.wire.structs import to_struct

__all__ = ["MAX_CHARACTERS", "MAX_MESSAGES", "ROUTES"]

MAX_MESSAGES: Final = 200
"""Messages of one conversation."""
MAX_CHARACTERS: Final = 256 * 1024
"""Characters of all its messages."""

_ROLES: Final[Mapping[str, ChatRole]] = {"": "user", **{role: role for role in get_args(ChatRole)}}


async def _chat(call: Call) -> Payload:
    message = call.message
    request = ChatRequest(messages=_messages(message.messages), request_id=call.request_id, stream=message.stream)
    answer = _Answer(call)
    async with aclosing(models(call).chat(request, context(call), route=message.provider)) as events:
        async for event in events:
            await answer.take(event)
    return answer.whole()


class _Answer:
    """An answer on its way out."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream_id = new_id()
        self._sent = 0
        self._text: list[str] = []
        self._chosen = Chosen(provider="", model="")
        self._usage: Usage | None = None
        self._finish = Finish()

    async def take(self, event: ChatEvent) -> None:
        """Take note of an event, and send what a stream shows of it."""
        match event:
            case Chosen():
                self._chosen = event
            case TextDelta():
                self._text.append(event.text)
                await self._send(SiStreamChunk(text_delta=event.text))
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
                await self._send(SiStreamChunk(metadata=to_struct(self._metadata()), done=True))

    def whole(self) -> SiChatResult:
        """The last payload."""
        return SiChatResult(
            request_id=self._call.request_id,
            message=SiChatMessage(role="assistant", content="".join(self._text)),
            metadata=to_struct(self._metadata()),
        )

    async def _send(self, chunk: SiStreamChunk) -> None:
        if not self._call.message.stream:
            return
        chunk.stream_id = self._stream_id
        chunk.provider = self._chosen.provider
        chunk.request_id = self._call.request_id
        chunk.index = self._sent
        self._sent += 1
        await self._call.send(chunk)

    def _metadata(self) -> dict[str, object]:
        return reply_metadata(self._chosen, self._usage, self._finish)


def _messages(given: Sequence[SiChatMessage]) -> tuple[ChatMessage, ...]:
    """The conversation, held against the limits.

    :raises MemqlError: ``si.invalid_request``.
    """
    if len(given) > MAX_MESSAGES:
        raise si_error("si.invalid_request", f"{len(given)} messages; at most {MAX_MESSAGES} are taken")
    if sum(len(message.content) for message in given) > MAX_CHARACTERS:
        raise si_error("si.invalid_request", f"the messages have more than {MAX_CHARACTERS} characters together")
    found = tuple(_message(number, message) for number, message in enumerate(given))
    if not found or found[-1].role != "user" or not found[-1].content.strip():
        raise si_error("si.invalid_request", "the last message must be one of the user that is not blank")
    return found


def _message(number: int, message: SiChatMessage) -> ChatMessage:
    role = _ROLES.get(message.role)
    if role is None:
        known = ", ".join(get_args(ChatRole))
        raise si_error("si.invalid_request", f"message {number} has the role {message.role!r}; there are {known}")
    return ChatMessage(role=role, content=message.content, name=message.name)


ROUTES = (Route(name="si_chat", handler=_chat, failure=failed, timeout=TOOL_TIMEOUT),)
