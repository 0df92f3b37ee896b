"""Routes whose payloads another node answers (spec "Forwarding", SI routing)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from memql.errors import Code, MemqlError
from memql.mesh.forward.payloads import TERMINAL
from memql.mesh.forward.requesting import Asked, Requester, Task
from memql.server.replies import Payload, RelayedReply
from memql.server.routing import TOOL_TIMEOUT, Route, RouteTable
from memql.server.session import Call
from memql.wire.frames import Frame
from memql.wire.messages import ClientToolCall
from memql.wire.payloads import CLIENT

__all__ = ["SI_ROUTING", "relayed_routes"]

log = logging.getLogger(__name__)

SI_ROUTING: Final[Mapping[str, str]] = {
    "si_chat": "agent",
    "si_suggest": "agent",
    "list_tools": "agent",
    "call_tool": "agent",
    "si_speech": "voice",
    "si_transcribe": "voice",
}
"""Which type of node answers what; payloads that this release does not have are left out of the routes."""

_EVERYWHERE: Final = frozenset({"list_tools", "call_tool"})
"""What every node can answer itself when no other is there."""


def relayed_routes(routes: RouteTable, requester: Requester, own_type: str) -> Sequence[Route]:
    """The routes by which a node has others answer: those that it has no answer of its own for, and on a hub those that
    every node can answer but workers answer better.

    :param routes: what the node answers itself.
    """
    found: list[Route] = []
    for name, target in SI_ROUTING.items():
        if name not in CLIENT.by_name:
            continue
        own = routes.get(name)
        better = own_type == "bff" and name in _EVERYWHERE
        if target == own_type or (own is not None and not better):
            continue
        found.append(_route(name, target, requester, own))
    return found


def _route(name: str, target: str, requester: Requester, own: Route | None) -> Route:
    handler = partial(_relay, name=name, target=target, requester=requester, own=own)
    if own is not None:
        return Route(name=name, handler=handler, failure=own.failure, timeout=own.timeout)
    return Route(name=name, handler=handler, timeout=TOOL_TIMEOUT)


async def _relay(call: Call, *, name: str, target: str, requester: Requester, own: Route | None) -> Payload | None:
    """Have another node answer, and hand its answers on as they come."""
    call.message.request_id = call.request_id
    task = Task(
        name=name,
        body=bytes(call.message),
        message_id=call.message_id,
        principal=call.session.principal,
        timeout=call.timeout or call.route.timeout,
    )
    try:
        async with aclosing(requester.ask(task, (target,))) as answers:
            async for frame, asked in answers:
                if frame.name in TERMINAL:
                    return RelayedReply(frame.name, frame.body)
                await _pass_on(call, frame, asked)
    except MemqlError as error:
        if own is None or own.handler is None or error.code is not Code.UNAVAILABLE:
            raise
        log.info("%s is answered here: %s", name, error.message)
        return await own.handler(call)
    raise MemqlError(Code.INTERNAL, f"the {target} node ended its answer to {name} without saying so")


async def _pass_on(call: Call, frame: Frame, asked: Asked) -> None:
    message = frame.message() if frame.name == "client_tool_call" else None
    if isinstance(message, ClientToolCall):
        # The client's answer goes back to the node that asked, past this handler.
        call.session.client_calls.relay(message.call_id, partial(asked.continue_with, "client_tool_result"))
        await call.session.send(RelayedReply(frame.name, frame.body))
    else:
        await call.send(RelayedReply(frame.name, frame.body))
