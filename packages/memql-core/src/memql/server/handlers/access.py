"""``my_access`` and ``evaluate_policy``."""

from __future__ import annotations

from typing import Any

import msgspec

from memql.engine.context import RequestContext
from memql.errors import Code, MemqlError
from memql.server.replies import Payload
from memql.server.routing import Route
from memql.server.session import Call
from memql.wire.messages import EvaluatePolicyResult, MyAccessResult, UserRole

__all__ = ["ROUTES"]

_ROLES = {
    "owner": UserRole.OWNER,
    "admin": UserRole.ADMIN,
    "writer": UserRole.WRITER,
    "reader": UserRole.READER,
}


async def _my_access(call: Call) -> Payload:
    actor = call.actor
    return MyAccessResult(
        request_id=call.request_id,
        user_id=actor.user_id,
        primary_email=actor.primary_email,
        cluster_role=_ROLES.get(actor.role, UserRole.UNSPECIFIED),
    )


async def _evaluate(call: Call) -> Payload:
    message = call.message
    policies = call.services.policies
    if policies is None:
        raise MemqlError(Code.UNAVAILABLE, "policies are not evaluated on this node")
    ctx = RequestContext(actor=call.actor, client_id=call.session.client_id)
    outcome = await policies.evaluate(
        message.policy_name, _arguments(message.args_json), ctx, trace=message.return_trace
    )
    return EvaluatePolicyResult(
        request_id=call.request_id,
        result_json=_json(outcome.value),
        trace_json="" if outcome.trace is None else _json(outcome.trace),
    )


def _arguments(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"args_json is no JSON object: {error}") from error


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _evaluate_failed(call: Call, error: MemqlError) -> Payload:
    wire_code = error.details.get("policy")
    if wire_code is None:
        wire_code = "POLICY_UNKNOWN" if error.code is Code.UNKNOWN_FUNCTION else "POLICY_RUNTIME_ERROR"
    return EvaluatePolicyResult(request_id=call.request_id, error_code=str(wire_code), error_message=error.message)


ROUTES = (
    Route(name="my_access", handler=_my_access),
    Route(name="evaluate_policy", handler=_evaluate, failure=_evaluate_failed),
)
