"""The JSON form of the stream: protojson envelopes, rows spliced in as the bytes the database built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any

import msgspec

from memql.server.codec import BadFrameError, Request
from memql.server.replies import Payload, QueryReply, RelayedReply
from memql.wire.frames import EventFrame, QueryRequest, SuggestionFrame
from memql.wire.generated import parse_message
from memql.wire.messages import EventKind, ExecuteQueryMsg
from memql.wire.payloads import CLIENT, SERVER
from memql.wire.payloads import Payload as WirePayload
from memql.wire.protojson import ProtoJsonError, camel, decode, encode, enum_name, format_time

__all__ = ["JsonCodec", "decode_query", "parse_object"]

_dumps = msgspec.json.Encoder().encode
_PAYLOADS: Mapping[str, WirePayload] = {
    key: payload for payload in CLIENT.by_name.values() for key in (payload.name, camel(payload.name))
}
_AI_PAYLOADS: Mapping[str, WirePayload] = {
    key: payload
    for name, payload in CLIENT.by_name.items()
    if name.startswith("si_")
    for key in (f"ai_{name[3:]}", camel(f"ai_{name[3:]}"))
}
"""The payloads about models as later clients of the original spell them."""


class JsonCodec:
    """Text frames of protojson, as WebSocket carries them; one for each session.

    Payloads about models are answered as the last request for one was spelt: ``siChat`` or ``aiChat``.
    """

    def __init__(self) -> None:
        self._ai = False

    def decode(self, data: bytes | str) -> Request:
        """Open a frame; see :class:`~memql.server.codec.Codec`."""
        try:
            envelope = parse_object(data)
        except ProtoJsonError as error:
            raise BadFrameError(str(error)) from error
        message_id = envelope.get("messageId") or envelope.get("message_id") or ""
        message_id = message_id if isinstance(message_id, str) else ""
        metadata = envelope.get("metadata") or {}
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise BadFrameError("metadata: expected an object of strings", message_id)
        members = [
            (payload, value)
            for key, value in envelope.items()
            if (payload := _PAYLOADS.get(key) or _AI_PAYLOADS.get(key)) is not None
        ]
        if len(members) > 1:
            raise BadFrameError("the frame has more than one payload", message_id)
        if not members:
            return Request(message_id, metadata=metadata)
        payload, value = members[0]
        if payload.name.startswith("si_"):
            self._ai = not envelope.keys().isdisjoint(_AI_PAYLOADS)
        try:
            message = _message(payload, value)
        except ProtoJsonError as error:
            raise BadFrameError(f"{camel(payload.name)}: {error}", message_id) from error
        return Request(message_id, payload.name, message, metadata)

    def encode(
        self, next_id: Callable[[], str], correlate_to: str, payload: Payload, *, json_rows: bool
    ) -> Iterator[bytes | str]:
        """The frame of a payload; see :class:`~memql.server.codec.Codec`. Rows are JSON either way."""
        if isinstance(payload, QueryReply):
            yield _query_result(next_id(), correlate_to, payload)
            return
        if isinstance(payload, RelayedReply):
            payload = parse_message(SERVER.by_name[payload.name].message, payload.body)
        if isinstance(payload, EventFrame):
            name, body = "event", _event(payload)
        elif isinstance(payload, SuggestionFrame):
            name, body = "siSuggestResult", _suggestion(payload)
        else:
            name, body = camel(SERVER.by_message[type(payload)].name), encode(payload)
        if self._ai and name.startswith("si"):
            name = f"ai{name[2:]}"
        yield _dumps({"messageId": next_id(), "correlateTo": correlate_to, "metadata": {}, name: body})


def parse_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object.

    :raises ProtoJsonError: when the text is none.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ProtoJsonError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtoJsonError("expected a JSON object")
    return value


def decode_query(value: Mapping[str, Any]) -> QueryRequest:
    """``ExecuteQueryMsg`` from its JSON object; variables stay as they are.

    :raises ProtoJsonError: when it does not fit.
    """
    variables = value.get("variables")
    if variables is not None and not isinstance(variables, dict):
        raise ProtoJsonError("variables: expected an object")
    rest = decode(ExecuteQueryMsg, {key: item for key, item in value.items() if key != "variables"})
    return QueryRequest(rest.request_id, rest.query, variables or {}, rest.client_id, rest.cursor)


def _message(payload: WirePayload, value: Any) -> Any:
    body = {} if value is None else value
    if payload.name == "execute_query" and isinstance(body, dict):
        return decode_query(body)
    return decode(payload.message, body)


def _query_result(message_id: str, correlate_to: str, reply: QueryReply) -> bytes:
    head = {"messageId": message_id, "correlateTo": correlate_to} if correlate_to else {"messageId": message_id}
    request = b'"requestId":' + _dumps(reply.request_id) + b"," if reply.request_id else b""
    return b"".join(
        (
            _dumps(head)[:-1],
            b',"queryResult":{',
            request,
            b'"result":',
            reply.result.to_json(),
            b',"done":true}}',
        )
    )


def _suggestion(suggestion: SuggestionFrame) -> dict[str, Any]:
    return {"requestId": suggestion.request_id, "domain": suggestion.domain, "result": suggestion.result}


def _event(event: EventFrame) -> dict[str, Any]:
    return {
        "subscriptionId": event.subscription_id,
        "kind": enum_name(EventKind, event.kind),
        "ts": format_time(event.ts.astimezone(UTC)),
        "payload": event.payload,
        "seq": str(event.seq),
        "gapBefore": event.gap_before,
        "cursor": event.cursor,
    }
