"""``execute_query``."""

from __future__ import annotations

from memql.errors import Code, MemqlError
from memql.server.limits import MAX_QUERY_BYTES
from memql.server.replies import Payload, QueryReply, query_error
from memql.server.routing import MAX_TIMEOUT, Route
from memql.server.session import Call

__all__ = ["ROUTES", "check_query"]


def check_query(text: str) -> None:
    """Refuse a text that is no query at first sight.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is empty or longer than 256 KiB.
    """
    if not text.strip():
        raise MemqlError(Code.INVALID_ARGUMENT, "the query is empty; send a raw query or a call")
    # Characters first: encoding a huge text to count its bytes would cost more than refusing it.
    if len(text) > MAX_QUERY_BYTES or len(text.encode()) > MAX_QUERY_BYTES:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"the query is longer than {MAX_QUERY_BYTES} bytes; pass data as variables"
        )


async def _execute(call: Call) -> Payload:
    message = call.message
    check_query(message.query)
    services = call.services
    client_id = message.client_id or str(message.variables.get("clientId") or "") or call.session.client_id
    result = await services.engine.execute(
        message.query,
        actor=call.actor,
        variables=message.variables,
        client_id=client_id,
        cursor=message.cursor,
        timeout=call.timeout,
    )
    if not result.meta.server_id:
        result.meta.server_id = services.identity.id
    return QueryReply(call.request_id, result)


def _failed(call: Call, error: MemqlError) -> Payload:
    return query_error(call.request_id, error, getattr(call.message, "query", ""))


# The engine bounds the run itself (a construct may declare its @timeout); the route's limit is only the backstop.
ROUTES = (Route(name="execute_query", handler=_execute, failure=_failed, timeout=MAX_TIMEOUT, is_query=True),)
