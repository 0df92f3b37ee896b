"""``subscribe`` and ``unsubscribe``."""

from __future__ import annotations

from memql.errors import MemqlError
from memql.server.replies import Payload, notice
from memql.server.routing import Route
from memql.server.session import Call

__all__ = ["ROUTES"]


def _subscribe(call: Call) -> None:
    if call.session.refusal is not None:
        raise call.session.refusal
    call.session.subscriptions.open(call.message, call.message_id)


def _unsubscribe(call: Call) -> Payload:
    subscription_id = call.message.subscription_id
    known = call.session.subscriptions.close(subscription_id)
    status = "unsubscribed" if known else "not_found"
    return notice(subscription_id, "subscription-removed", {"status": status, "subscriptionId": subscription_id})


def _failed(call: Call, error: MemqlError) -> Payload:
    subscription_id = call.message.subscription_id or call.request_id
    fields = {
        "error": error.code.value,
        "message": error.message,
        "retryable": error.retryable,
        "subscriptionId": subscription_id,
    }
    return notice(subscription_id, "subscription-error", fields)


ROUTES = (
    Route(name="subscribe", inline=_subscribe, failure=_failed),
    Route(name="unsubscribe", inline=_unsubscribe, failure=_failed),
)
