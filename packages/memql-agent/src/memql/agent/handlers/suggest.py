"""``si_suggest``: a domain and its payload in, a JSON object out (spec "Tools and SI")."""

from __future__ import annotations

from memql.agent.handlers.common import context, failed, models
from memql.server.replies import Payload
from memql.server.routing import TOOL_TIMEOUT, Route
from memql.server.session import Call
from memql.wire.frames import SuggestionFrame
from memql.wire.structs import from_struct

__all__ = ["ROUTES"]


async def _suggest(call: Call) -> Payload:
    domain, payload = call.message.domain, from_struct(call.message.payload)
    result = await models(call).suggest(domain, payload, context(call))
    return SuggestionFrame(call.request_id, domain, result)


ROUTES = (Route(name="si_suggest", handler=_suggest, failure=failed, timeout=TOOL_TIMEOUT),)
