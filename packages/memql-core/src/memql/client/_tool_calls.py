"""Tools that the server asks this client to execute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from memql.client._link import Link
from memql.client.model import ClientToolCall, ContentItem, ToolResult
from memql.errors import MemqlError
from memql.wire import messages

__all__ = ["ClientTools", "ToolHandler", "content_items"]

ToolHandler = Callable[[ClientToolCall], Awaitable[Any]]
"""Executes a call. Text, a :class:`ToolResult` or a JSON value is the result."""

_DEFAULT_TIMEOUT = 30.0


def content_items(items: Iterable[messages.ToolResultContent]) -> tuple[ContentItem, ...]:
    """Wire items as plain ones."""
    return tuple(
        ContentItem(type=one.type, text=one.text, mime_type=one.mime_type, data=one.data, uri=one.uri) for one in items
    )


class ClientTools:
    """The registered handlers; each call runs in a task of the client's group, bounded by the call's time
    limit."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._handlers: dict[str, ToolHandler] = {}

    def register(self, name: str, handler: ToolHandler) -> None:
        """Set the handler of a tool; the last one counts."""
        self._handlers[name] = handler

    def dispatch(self, link: Link, call: messages.ClientToolCall) -> None:
        """Start executing a call; its answer goes out on the stream it came from."""
        self._group.start_soon(self._execute, link, call, name=f"memql client tool {call.tool_name}")

    async def _execute(self, link: Link, call: messages.ClientToolCall) -> None:
        handler = self._handlers.get(call.tool_name)
        if handler is None:
            link.post_nowait(_failed(call, f"this client has no handler for the tool {call.tool_name!r}"))
            return
        timeout = call.timeout_ms / 1000 if call.timeout_ms else _DEFAULT_TIMEOUT
        try:
            with anyio.fail_after(timeout):
                value = await handler(_plain_call(call, timeout))
            answer = _answer(call, value)
        except TimeoutError:
            answer = _failed(call, f"the handler took longer than {timeout:g} s")
        except MemqlError as error:
            answer = _failed(call, str(error))
        except Exception as error:
            # A handler is the user's code: whatever it raises is the tool's failure, and must not end the client.
            answer = _failed(call, f"{type(error).__name__}: {error}")
        link.post_nowait(answer)


def _plain_call(call: messages.ClientToolCall, timeout: float) -> ClientToolCall:
    return ClientToolCall(
        call_id=call.call_id,
        turn_id=call.turn_id,
        agent_id=call.agent_id,
        tool=call.tool_name,
        arguments=msgspec.json.decode(call.arguments_json) if call.arguments_json else {},
        timeout=timeout,
    )


def _answer(call: messages.ClientToolCall, value: Any) -> messages.ClientToolResult:
    if isinstance(value, ToolResult):
        items = [
            messages.ToolResultContent(
                type=one.type, text=one.text, mime_type=one.mime_type, data=one.data, uri=one.uri
            )
            for one in value.content
        ]
        return messages.ClientToolResult(call_id=call.call_id, content=items, is_error=value.is_error)
    if isinstance(value, str):
        item = messages.ToolResultContent(type="text", text=value)
    else:
        text = msgspec.json.encode(value).decode()
        item = messages.ToolResultContent(type="json", text=text, mime_type="application/json")
    return messages.ClientToolResult(call_id=call.call_id, content=[item])


def _failed(call: messages.ClientToolCall, message: str) -> messages.ClientToolResult:
    return messages.ClientToolResult(
        call_id=call.call_id,
        content=[messages.ToolResultContent(type="text", text=message)],
        is_error=True,
        error_message=message,
    )
