"""Envelopes and hot payloads as bytes, decoded no further than needed.

An envelope is opened into a :class:`Frame`, whose body stays bytes until somebody asks for its message.
Queries, row chunks and events have their own light classes here; everything else is a generated message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto2
import msgspec

from memql.wire.generated import parse_message
from memql.wire.payloads import CLIENT, SERVER, PayloadTable
from memql.wire.protobuf import (
    MalformedMessageError,
    bool_field,
    bytes_field,
    bytes_head,
    fields,
    text,
    text_entry,
    text_field,
    varint_field,
)
from memql.wire.structs import decode_struct, encode_struct

__all__ = [
    "EventFrame",
    "Frame",
    "QueryRequest",
    "RowsChunk",
    "SuggestionFrame",
    "decode_client",
    "decode_frame",
    "decode_server",
    "encode_client",
    "encode_entries",
    "encode_server",
    "encode_server_rows",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_METADATA = 3
_JSON_ROWS = 200


class Frame(msgspec.Struct, frozen=True, gc=False):
    """An opened envelope. ``name`` is the payload's field name, empty when there is none that is known.

    ``body`` is the payload's bytes; :meth:`message` decodes them.
    """

    message_id: str = ""
    correlate_to: str = ""
    metadata: dict[str, str] = {}
    name: str = ""
    number: int = 0
    body: bytes = b""
    table: PayloadTable = CLIENT

    def message(self) -> betterproto2.Message:
        """The payload as a generated message.

        :raises MalformedMessageError: when the bytes are no such message.
        """
        return parse_message(self.table.by_number[self.number].message, self.body)


def decode_client(data: bytes) -> Frame:
    """Open a ``MemqlClientMessage``.

    :raises MalformedMessageError: for bytes that are no envelope.
    """
    return decode_frame(data, CLIENT)


def decode_server(data: bytes) -> Frame:
    """Open a ``MemqlServerMessage``.

    :raises MalformedMessageError: for bytes that are no envelope.
    """
    return decode_frame(data, SERVER)


def encode_client(message_id: str, number: int, body: bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    """A ``MemqlClientMessage`` around the bytes of payload ``number``."""
    return b"".join((text_field(1, message_id), *encode_entries(metadata or {}), bytes_field(number, body)))


def encode_server(message_id: str, correlate_to: str, number: int, body: bytes) -> bytes:
    """A ``MemqlServerMessage`` around the bytes of payload ``number``."""
    return text_field(1, message_id) + text_field(2, correlate_to) + bytes_field(number, body)


def encode_server_rows(message_id: str, correlate_to: str, number: int, chunk: RowsChunk) -> bytes:
    """The same around a chunk of rows, whose JSON is copied once."""
    before = text_field(1, chunk.request_id) + bool_field(3, chunk.done) + bytes_head(_JSON_ROWS, len(chunk.json))
    head = bytes_head(number, len(before) + len(chunk.json))
    return b"".join((text_field(1, message_id), text_field(2, correlate_to), head, before, chunk.json))


def decode_frame(data: bytes, table: PayloadTable) -> Frame:
    """Open an envelope: every one of the protocol has the same first three fields and then the payload.

    :param table: the payloads it may have.
    :raises MalformedMessageError: for bytes that are no envelope.
    """
    message_id = correlate_to = name = ""
    metadata: dict[str, str] = {}
    number, body = 0, b""
    for at, value in fields(data):
        if at == 1:
            message_id = text(value)
        elif at == 2:
            correlate_to = text(value)
        elif at == _METADATA:
            key, entry = text_entry(_body(value))
            metadata[key] = entry
        elif payload := table.by_number.get(at):
            # The last member of a oneof wins, as everywhere in protobuf.
            number, body, name = at, _body(value), payload.name
    return Frame(message_id, correlate_to, metadata, name, number, body, table)


def _body(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedMessageError("a number stands where a message was expected")
    return value


def encode_entries(metadata: Mapping[str, str]) -> list[bytes]:
    """The metadata of an envelope."""
    return [bytes_field(_METADATA, text_field(1, key) + text_field(2, value)) for key, value in metadata.items()]


@dataclass(slots=True)
class QueryRequest:
    """``ExecuteQueryMsg`` with plain variables."""

    request_id: str = ""
    query: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    client_id: str = ""
    cursor: str = ""

    def encode(self) -> bytes:
        """The bytes of the message."""
        variables = bytes_field(3, encode_struct(self.variables)) if self.variables else b""
        return b"".join(
            (
                text_field(1, self.request_id),
                text_field(2, self.query),
                variables,
                text_field(4, self.client_id),
                text_field(5, self.cursor),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> QueryRequest:
        """From the bytes of the message.

        :raises MalformedMessageError: when they are none.
        """
        parts = dict(fields(data))
        variables = parts.get(3)
        return cls(
            text(parts.get(1, b"")),
            text(parts.get(2, b"")),
            {} if variables is None else decode_struct(_body(variables)),
            text(parts.get(4, b"")),
            text(parts.get(5, b"")),
        )


@dataclass(slots=True)
class RowsChunk:
    """``QueryResultChunk`` of a client that announced ``json-rows``: ``json`` is
    ``{"nodes","edges","rootIds","data","meta"}``, UTF-8, as the database built it."""

    request_id: str
    json: bytes
    done: bool

    def encode(self) -> bytes:
        """The bytes of the message."""
        return text_field(1, self.request_id) + bool_field(3, self.done) + bytes_field(_JSON_ROWS, self.json)

    @classmethod
    def decode(cls, data: bytes) -> RowsChunk:
        """From the bytes of the message; a chunk with ``result`` instead has empty ``json``.

        :raises MalformedMessageError: when they are none.
        """
        parts = dict(fields(data))
        return cls(text(parts.get(1, b"")), _body(parts.get(_JSON_ROWS, b"")), bool(parts.get(3, 0)))


@dataclass(slots=True)
class EventFrame:
    """``EventNotification`` with a plain payload; ``kind`` is the wire number of an event kind."""

    subscription_id: str
    kind: int
    ts: datetime
    payload: Mapping[str, Any]
    seq: int = 0
    gap_before: bool = False
    cursor: str = ""

    def encode(self) -> bytes:
        """The bytes of the message."""
        return b"".join(
            (
                text_field(1, self.subscription_id),
                varint_field(2, self.kind),
                bytes_field(3, _timestamp(self.ts)),
                bytes_field(4, encode_struct(self.payload)),
                varint_field(200, self.seq),
                bool_field(201, self.gap_before),
                text_field(202, self.cursor),
            )
        )


@dataclass(slots=True)
class SuggestionFrame:
    """``SISuggestResult`` with a plain result: a thousand vectors are a quarter of a million numbers."""

    request_id: str
    domain: str
    result: Mapping[str, Any]

    def encode(self) -> bytes:
        """The bytes of the message.

        :raises TypeError: when the result is no JSON object.
        """
        return b"".join(
            (text_field(1, self.request_id), text_field(2, self.domain), bytes_field(3, encode_struct(self.result)))
        )

    @classmethod
    def decode(cls, data: bytes) -> SuggestionFrame:
        """From the bytes of the message.

        :raises MalformedMessageError: when they are none.
        """
        parts = dict(fields(data))
        result = decode_struct(_body(parts.get(3, b"")))
        return cls(text(parts.get(1, b"")), text(parts.get(2, b"")), result)


def _timestamp(moment: datetime) -> bytes:
    seconds, rest = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return varint_field(1, seconds % (1 << 64)) + varint_field(2, rest * 1000)
