"""Envelopes to and from what the session works with: named payloads, rows as bytes, events, coded errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import betterproto2
import msgspec

from memql.client.model import Event
from memql.errors import Code, MemqlError, Status
from memql.wire import messages
from memql.wire.frames import Frame, RowsChunk, encode_client
from memql.wire.generated import message_bytes
from memql.wire.payloads import CLIENT
from memql.wire.protobuf import fields, text
from memql.wire.structs import decode_struct, from_struct

__all__ = [
    "call_text",
    "decode_error",
    "decode_event",
    "encode_message",
    "encode_payload",
    "plain_arguments",
    "rows_of_chunk",
]

_BY_STATUS = {
    Status.Canceled: Code.CANCELLED,
    Status.InvalidArgument: Code.INVALID_ARGUMENT,
    Status.DeadlineExceeded: Code.TIMEOUT,
    Status.NotFound: Code.NOT_FOUND,
    Status.AlreadyExists: Code.ALREADY_EXISTS,
    Status.PermissionDenied: Code.FORBIDDEN,
    Status.ResourceExhausted: Code.RESOURCE_EXHAUSTED,
    Status.FailedPrecondition: Code.FAILED_PRECONDITION,
    Status.Aborted: Code.CONFLICT,
    Status.OutOfRange: Code.OUT_OF_RANGE,
    Status.Unimplemented: Code.UNIMPLEMENTED,
    Status.Unavailable: Code.UNAVAILABLE,
    Status.Unauthenticated: Code.UNAUTHENTICATED,
}
_LARGEST_EXACT = 2**53


def encode_payload(name: str, message_id: str, body: bytes, timeout: float | None = None) -> bytes:
    """An envelope around the bytes of a payload. ``timeout`` (seconds) travels as the request's deadline."""
    metadata = {} if timeout is None else {"timeout_ms": str(int(timeout * 1000))}
    return encode_client(message_id, CLIENT.by_name[name].number, body, metadata)


def encode_message(message_id: str, message: betterproto2.Message, timeout: float | None = None) -> bytes:
    """An envelope around a generated message."""
    return encode_payload(CLIENT.by_message[type(message)].name, message_id, message_bytes(message), timeout)


@lru_cache(maxsize=1024)
def _call_text(name: str, keys: tuple[str, ...]) -> str:
    return f"{name}({{{', '.join(f'{key}: ${key}' for key in keys)}}})"


def call_text(name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The text that calls a named construct, and its variables.

    Arguments travel as variables, so that the text, and with it the server's plan, is the same for every
    call. Only an argument that a double cannot hold exactly stands in the text.
    """
    variables = {key: value for key, value in arguments.items() if _survives_double(value)}
    if len(variables) == len(arguments):
        return _call_text(name, tuple(arguments)), variables
    members = (
        f"{key}: ${key}" if key in variables else f"{key}: {json.dumps(value)}" for key, value in arguments.items()
    )
    return f"{name}({{{', '.join(members)}}})", variables


def _survives_double(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_EXACT <= value <= _LARGEST_EXACT
    if isinstance(value, dict):
        return all(map(_survives_double, value.values()))
    if isinstance(value, list):
        return all(map(_survives_double, value))
    return True


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON values: instants as RFC 3339 text, dataclasses as objects, tuples as lists.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a value that JSON does not know.
    """
    if not arguments:
        return {}
    try:
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(arguments), enc_hook=_plain_mapping))
    except (TypeError, ValueError, OverflowError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"an argument is not a JSON value: {error}") from error
    return plain


def _plain_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


def rows_of_chunk(body: bytes) -> tuple[bytes, bool]:
    """The JSON of a ``QueryResultChunk`` and whether it is the last.

    A node that does not know ``json-rows`` sends structured values; they become the same JSON.
    """
    chunk = RowsChunk.decode(body)
    if chunk.json:
        return chunk.json, chunk.done
    whole = messages.QueryResultChunk.parse(body)
    return msgspec.json.encode(_result_json(whole.result)), whole.done


def _result_json(result: messages.Result | None) -> dict[str, Any]:
    if result is None:
        return {}
    bundle = result.bundle or messages.GraphBundle()
    wrapped = from_struct(
        messages.Struct(fields={"data": messages.Value(list_value=messages.ListValue(values=result.data))})
    )
    return {
        "nodes": [_node_json(node) for node in bundle.nodes],
        "edges": [
            {"type": edge.type, "fromId": edge.from_id, "toId": edge.to_id, "depth": edge.depth}
            for edge in bundle.edges
        ],
        "rootIds": list(bundle.root_ids),
        "data": wrapped["data"],
        "meta": _meta_json(result.meta or messages.ResultMeta()),
    }


def _node_json(node: messages.MemoryNode) -> dict[str, Any]:
    created = None if node.created_at is None else node.created_at.isoformat()
    return {
        "id": node.id,
        "concept": node.concept,
        "type": node.type,
        "createdBy": node.created_by,
        "createdAt": created,
        "payload": from_struct(node.payload),
    }


def _meta_json(meta: messages.ResultMeta) -> dict[str, Any]:
    values = {
        "count": meta.count,
        "hasMore": meta.has_more,
        "cursor": meta.cursor,
        "took": meta.took_ms or 0,
        "clientId": meta.client_id,
        "serverId": meta.server_id,
        "version": meta.version,
    }
    return {name: value for name, value in values.items() if value is not None}


def decode_event(body: bytes) -> tuple[str, Event]:
    """The subscription's id and the event of an ``EventNotification``."""
    parts = dict(fields(body))
    payload = decode_struct(_bytes(parts.get(4)))
    event = Event(
        topic=str(payload.get("topic", "")),
        kind=str(payload.get("eventKind", "")),
        ts=_timestamp(_bytes(parts.get(3))),
        payload=payload,
        seq=_number(parts.get(200)),
        gap_before=bool(parts.get(201, 0)),
        cursor=text(parts.get(202, b"")),
    )
    return text(parts.get(1, b"")), event


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0


def _timestamp(body: bytes) -> datetime | None:
    if not body:
        return None
    parts = dict(fields(body))
    seconds = _number(parts.get(1))
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=_number(parts.get(2)) // 1000)


def decode_error(frame: Frame) -> MemqlError:
    """The error of a ``QueryErrorMsg``."""
    message = frame.message()
    assert isinstance(message, messages.QueryErrorMsg)
    detail = message.error or messages.ErrorDetail()
    metadata = dict(detail.metadata)
    error = MemqlError(
        _code(metadata.pop("code", ""), detail.code),
        detail.message,
        retryable=metadata.pop("retryable") == "true" if "retryable" in metadata else None,
    )
    error.error_id = metadata.pop("errorId", "")
    if (position := metadata.pop("position", "")).isdecimal():
        error.position = int(position)
    error.context = metadata.pop("context", "")
    for name in ("details", "suggestion"):
        _restore(error, name, metadata)
    error.details.update(metadata)
    return error


def _code(name: str, status: str) -> Code:
    if name in Code.__members__:
        return Code(name)
    return _BY_STATUS.get(Status[status], Code.INTERNAL) if status in Status.__members__ else Code.INTERNAL


def _restore(error: MemqlError, name: str, metadata: dict[str, str]) -> None:
    shape = metadata.pop(name, "")
    if not shape:
        return
    try:
        value = msgspec.json.decode(shape)
    except msgspec.DecodeError:
        metadata[name] = shape
        return
    if isinstance(value, dict):
        getattr(error, name).update(value)
