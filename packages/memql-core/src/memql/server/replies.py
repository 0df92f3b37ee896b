"""Answers: what a handler may give back, and errors in their wire form (spec "Replies, errors, cancel")."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import betterproto2
import msgspec

from memql.engine.result import Result
from memql.errors import Code, MemqlError, internal_error
from memql.events import EventKind
from memql.wire.frames import EventFrame, SuggestionFrame
from memql.wire.messages import ErrorDetail, QueryErrorMsg
from memql.wire.payloads import SERVER

__all__ = ["Payload", "QueryReply", "RelayedReply", "coded", "notice", "query_error", "wire_name"]

log = logging.getLogger(__name__)

_MAX_INTERNAL = 512


@dataclass(slots=True)
class QueryReply:
    """A query's result; the codec cuts it into frames in the form that the client asked for."""

    request_id: str
    result: Result


@dataclass(frozen=True, slots=True)
class RelayedReply:
    """A payload that another node has answered with, as the bytes it came in."""

    name: str
    body: bytes


Payload: TypeAlias = betterproto2.Message | QueryReply | EventFrame | SuggestionFrame | RelayedReply
"""What goes into the server's envelope."""


def wire_name(payload: Payload) -> str:
    """The field of the envelope that a payload travels in."""
    if isinstance(payload, RelayedReply):
        return payload.name
    for kind, name in ((QueryReply, "query_result"), (EventFrame, "event"), (SuggestionFrame, "si_suggest_result")):
        if isinstance(payload, kind):
            return name
    return SERVER.by_message[type(payload)].name


def coded(error: BaseException) -> MemqlError:
    """Any failure as a :class:`MemqlError`; an unexpected one is logged under a fresh error id."""
    if isinstance(error, MemqlError):
        if error.code is Code.INTERNAL and not error.error_id:
            error.error_id = new_error_id()
            log.error("request failed (%s)", error.error_id, exc_info=error)
        return error
    wrapped = internal_error(error, new_error_id())
    log.error("request failed unexpectedly (%s)", wrapped.error_id, exc_info=error)
    return wrapped


def new_error_id() -> str:
    """``ERR-`` and six hex digits, for a user to quote."""
    return f"ERR-{secrets.token_hex(3).upper()}"


def query_error(request_id: str, error: MemqlError, source: str = "") -> QueryErrorMsg:
    """The default answer to a request that failed.

    :param source: the text that ``error.position`` is an offset into; gives line and column.
    """
    message = error.message
    if error.code is Code.INTERNAL:
        message = message[:_MAX_INTERNAL]
    return QueryErrorMsg(
        request_id=request_id,
        error=ErrorDetail(code=error.status.name, message=message, metadata=_metadata(error, source)),
    )


def _metadata(error: MemqlError, source: str) -> dict[str, str]:
    out = {"code": error.code.value, "retryable": "true" if error.retryable else "false"}
    if error.error_id:
        out["errorId"] = error.error_id
    if error.position is not None:
        out["position"] = str(error.position)
        if source:
            before = source[: error.position]
            out["line"] = str(before.count("\n") + 1)
            out["column"] = str(error.position - (before.rfind("\n") + 1) + 1)
    if error.context:
        out["context"] = error.context
    for name, value in (("details", error.details), ("suggestion", error.suggestion)):
        if value:
            out[name] = msgspec.json.encode(value, enc_hook=str).decode()
    return out


def notice(subscription_id: str, event_type: str, fields: Mapping[str, Any], *, cursor: str = "") -> EventFrame:
    """A correlated acknowledgement: an event of kind MESSAGE with an ``eventType``.

    :param cursor: where a subscription begins, so that it can be resumed before its first event.
    """
    payload = {"eventType": event_type, **fields}
    return EventFrame(subscription_id, EventKind.MESSAGE.value, datetime.now(UTC), payload, cursor=cursor)
