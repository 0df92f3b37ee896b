"""Hello, acknowledgements, cancelling, credentials and maintenance."""

from __future__ import annotations

from memql.errors import Code, MemqlError
from memql.server.no_auth import LocalOwner
from memql.server.ports import Credentials
from memql.server.replies import Payload, notice
from memql.server.routing import Route
from memql.server.session import FEATURES, HEARTBEAT_SECONDS, Call
from memql.wire.messages import NodeMaintenanceResult, RotateAuthResult, ServerHello

__all__ = ["ROUTES", "WIRE_VERSION"]

WIRE_VERSION = "v1"


def _hello(call: Call) -> Payload:
    session, hello = call.session, call.message
    session.client_id = hello.client_id
    session.features = frozenset(hello.features).intersection(FEATURES)
    return server_hello(call)


def server_hello(call: Call) -> ServerHello:
    """What this node tells a client about itself."""
    services = call.services
    return ServerHello(
        node_id=services.identity.id,
        version=WIRE_VERSION,
        features=list(FEATURES),
        engine_version=services.version,
        session_id=call.session.id,
        heartbeat_ms=int(HEARTBEAT_SECONDS * 1000),
    )


def _cancel(call: Call) -> Payload:
    request_id = call.message.request_id
    if call.session.cancel(request_id):
        fields = {"requestId": request_id, "status": "cancelled"}
        return notice(request_id, "request-cancelled", fields)
    return notice(request_id, "request-missing", {"requestId": request_id, "status": "not_found"})


def _ack(call: Call) -> None:
    return None


async def _rotate(call: Call) -> Payload:
    session, authenticator = call.session, call.services.authenticator
    if authenticator is None or isinstance(authenticator, LocalOwner) or session.keeper is None:
        return _not_rotated("verifier_unconfigured", "this node verifies no tokens, so there is none to replace")
    before = session.principal
    shown = Credentials(authorization=f"Bearer {call.message.access_token}", surface=before.surface)
    try:
        principal = await authenticator.authenticate(shown)
    except MemqlError as error:
        refused = error.code in {Code.UNAUTHENTICATED, Code.FORBIDDEN}
        return _not_rotated("invalid_token" if refused else "access_load_failed", error.message)
    if principal.subject != before.subject:
        return _not_rotated("subject_mismatch", "the new credential is somebody else's")
    session.keeper.adopt(principal)
    return RotateAuthResult(ok=True)


def _not_rotated(error: str, reason: str) -> Payload:
    return RotateAuthResult(ok=False, error=error, error_description=f"{reason}; the stream keeps the identity it has")


async def _maintenance(call: Call) -> Payload:
    services, message = call.services, call.message
    if not call.actor.has_role("admin"):
        raise MemqlError(Code.FORBIDDEN, "node maintenance needs role admin or above")
    if message.action != "drain":
        raise MemqlError(Code.INVALID_ARGUMENT, f"there is no maintenance action {message.action!r}; try 'drain'")
    if services.drain is None:
        raise MemqlError(Code.UNAVAILABLE, "this node cannot be drained from a stream")
    started = services.drain(message.reason)
    return NodeMaintenanceResult(
        request_id=call.request_id,
        ok=True,
        already_draining=not started,
        node_id=services.identity.id,
        state="DRAINING",
    )


_MAINTENANCE_CODES = {Code.FORBIDDEN: "permission_denied", Code.INVALID_ARGUMENT: "bad_request"}


def _maintenance_failed(call: Call, error: MemqlError) -> Payload:
    return NodeMaintenanceResult(
        request_id=call.request_id,
        node_id=call.services.identity.id,
        error_code=_MAINTENANCE_CODES.get(error.code, "unavailable"),
        error_message=error.message,
    )


ROUTES = (
    Route(name="client_hello", inline=_hello),
    Route(name="ack", inline=_ack),
    Route(name="cancel_request", inline=_cancel),
    Route(name="rotate_auth", handler=_rotate),
    Route(name="node_maintenance", handler=_maintenance, failure=_maintenance_failed),
)
