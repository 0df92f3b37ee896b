"""``list_tools``, ``call_tool`` and the answers of client-executed tools."""

from __future__ import annotations

import base64

import msgspec

from memql.engine.context import RequestContext
from memql.engine.tools.dispatch import ToolOutcome
from memql.errors import Code, MemqlError
from memql.lang.catalog import Tool
from memql.server.ports import Tools
from memql.server.replies import Payload
from memql.server.routing import TOOL_TIMEOUT, Route
from memql.server.session import Call
from memql.wire.messages import CallToolResult, ListToolsResult, ToolDescriptor, ToolResultContent
from memql.wire.structs import from_struct

__all__ = ["ROUTES"]

_PAGE = 200


def _dispatcher(call: Call) -> Tools:
    if call.services.tools is None:
        raise MemqlError(Code.UNAVAILABLE, "tools are not available on this node")
    return call.services.tools


def _context(call: Call) -> RequestContext:
    return RequestContext(actor=call.actor, client_id=call.session.client_id)


async def _list(call: Call) -> Payload:
    visible = _dispatcher(call).visible(_context(call))
    after = _decode_cursor(call.message.cursor)
    rest = [tool for tool in visible if tool.name > after]
    page = rest[:_PAGE]
    more = _encode_cursor(page[-1].name) if len(rest) > _PAGE else ""
    return ListToolsResult(request_id=call.request_id, tools=[_describe(tool) for tool in page], next_cursor=more)


def _describe(tool: Tool) -> ToolDescriptor:
    return ToolDescriptor(
        name=tool.name,
        description=tool.annotations.description,
        input_schema=msgspec.json.encode(tool.input_schema).decode(),
        client_execution=tool.client_execution,
        scopes=list(tool.scopes),
    )


def _encode_cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decode_cursor(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{cursor[:40]!r} is no cursor of list_tools") from error


async def _call(call: Call) -> Payload:
    arguments = from_struct(call.message.arguments)
    outcome = await _dispatcher(call).call(call.message.name, arguments, _context(call), call.session.client_calls)
    return _result(call, outcome)


def _result(call: Call, outcome: ToolOutcome) -> CallToolResult:
    content = [
        ToolResultContent(type=c.type, text=c.text, mime_type=c.mime_type, data=c.data, uri=c.uri)
        for c in outcome.content
    ]
    return CallToolResult(request_id=call.request_id, content=content, is_error=outcome.is_error)


def _call_failed(call: Call, error: MemqlError) -> Payload:
    return CallToolResult(
        request_id=call.request_id,
        content=[ToolResultContent(type="text", text=str(error))],
        is_error=True,
    )


def _client_result(call: Call) -> None:
    call.session.client_calls.settle(call.message)


ROUTES = (
    Route(name="list_tools", handler=_list),
    Route(name="call_tool", handler=_call, failure=_call_failed, timeout=TOOL_TIMEOUT),
    Route(name="client_tool_result", inline=_client_result),
)
