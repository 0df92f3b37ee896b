"""Frames of a stream to requests and back; the protobuf form. The JSON form is in
:mod:`memql.server.json_codec`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from memql.server.replies import Payload, QueryReply, RelayedReply
from memql.server.value_rows import to_message
from memql.wire.frames import (
    EventFrame,
    Frame,
    QueryRequest,
    RowsChunk,
    SuggestionFrame,
    decode_client,
    encode_server,
    encode_server_rows,
)
from memql.wire.generated import message_bytes
from memql.wire.messages import QueryResultChunk
from memql.wire.payloads import SERVER
from memql.wire.protobuf import MalformedMessageError

__all__ = ["BadFrameError", "Codec", "ProtobufCodec", "Request", "request_of"]

_EVENT = SERVER.by_name["event"].number
_QUERY_RESULT = SERVER.by_name["query_result"].number
_SUGGESTION = SERVER.by_name["si_suggest_result"].number


class BadFrameError(Exception):
    """A frame that cannot be read; ``message_id`` is what it could be answered to, when that much was
    readable."""

    def __init__(self, reason: str, message_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.message_id = message_id


class Request(msgspec.Struct, frozen=True):
    """An opened client envelope. ``name`` is empty when the payload is missing or unknown.

    ``message`` is a :class:`~memql.wire.frames.QueryRequest` or a generated message.
    """

    message_id: str
    name: str = ""
    message: Any = None
    metadata: dict[str, str] = {}


class Codec(Protocol):
    """One encoding of the stream."""

    def decode(self, data: bytes | str) -> Request:
        """Open a frame.

        :raises BadFrameError: when it is none.
        """
        ...

    def encode(
        self, next_id: Callable[[], str], correlate_to: str, payload: Payload, *, json_rows: bool
    ) -> Iterator[bytes | str]:
        """The frames of a payload; several only for a query's result.

        :param next_id: gives each frame its message id.
        :param json_rows: whether the client takes rows as JSON bytes.
        """
        ...


def request_of(frame: Frame) -> Request:
    """The request that an opened envelope brings.

    :raises BadFrameError: when its payload cannot be read.
    """
    if not frame.name:
        return Request(frame.message_id, metadata=frame.metadata)
    try:
        query = frame.name == "execute_query"
        message = QueryRequest.decode(frame.body) if query else frame.message()
    except MalformedMessageError as error:
        raise BadFrameError(f"the frame cannot be decoded: {error}", frame.message_id) from error
    return Request(frame.message_id, frame.name, message, frame.metadata)


class ProtobufCodec:
    """Binary protobuf, as gRPC carries it."""

    def decode(self, data: bytes | str) -> Request:
        """Open a frame; see :class:`Codec`."""
        if isinstance(data, str):
            raise BadFrameError("a text frame came where binary protobuf was expected")
        try:
            return request_of(decode_client(data))
        except MalformedMessageError as error:
            raise BadFrameError(f"the frame cannot be decoded: {error}") from error

    def encode(
        self, next_id: Callable[[], str], correlate_to: str, payload: Payload, *, json_rows: bool
    ) -> Iterator[bytes | str]:
        """The frames of a payload; see :class:`Codec`."""
        if isinstance(payload, EventFrame):
            yield encode_server(next_id(), correlate_to, _EVENT, payload.encode())
        elif isinstance(payload, RelayedReply):
            yield encode_server(next_id(), correlate_to, SERVER.by_name[payload.name].number, payload.body)
        elif isinstance(payload, SuggestionFrame):
            yield encode_server(next_id(), correlate_to, _SUGGESTION, payload.encode())
        elif not isinstance(payload, QueryReply):
            number = SERVER.by_message[type(payload)].number
            yield encode_server(next_id(), correlate_to, number, message_bytes(payload))
        elif json_rows:
            for rows, last in payload.result.chunks():
                chunk = RowsChunk(payload.request_id, rows, last)
                yield encode_server_rows(next_id(), correlate_to, _QUERY_RESULT, chunk)
        else:
            whole = QueryResultChunk(request_id=payload.request_id, result=to_message(payload.result), done=True)
            yield encode_server(next_id(), correlate_to, _QUERY_RESULT, bytes(whole))
