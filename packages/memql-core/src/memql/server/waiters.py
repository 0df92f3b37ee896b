"""Tools that run in the client: the call goes out, the answer comes back as a frame (spec "Tools")."""

from __future__ import annotations

import json
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from memql.engine.context import RequestContext
from memql.engine.tools.dispatch import ToolContent, ToolOutcome
from memql.lang.catalog import Tool
from memql.wire.messages import ClientToolCall, ClientToolResult

if TYPE_CHECKING:
    from memql.server.session import Session

__all__ = ["UNREACHABLE", "ClientCalls"]

UNREACHABLE = "CLIENT_TOOL_UNREACHABLE"
"""The marker in the error of a client that did not answer."""

_DEFAULT_TIMEOUT = 30.0
_ASK_USER = "uiAskUser"
_ASK_USER_TIMEOUT = 120.0
_MOST_RELAYED = 256


class _Waiter:
    __slots__ = ("answered", "outcome")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.outcome: ToolOutcome | None = None


class ClientCalls:
    """The client tool calls of one session that wait for their result. Only this session may answer them."""

    __slots__ = ("_relayed", "_session", "_waiting")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[str, _Waiter] = {}
        self._relayed: OrderedDict[str, Callable[[bytes], None]] = OrderedDict()

    async def __call__(self, tool: Tool, args: Mapping[str, Any], ctx: RequestContext) -> ToolOutcome:
        """Ask the client to run a tool, and wait: the tool's ``@timeout``, else 30 s (120 s for ``uiAskUser``)."""
        seconds = tool.annotations.timeout or (_ASK_USER_TIMEOUT if tool.name == _ASK_USER else _DEFAULT_TIMEOUT)
        call_id, waiter = uuid.uuid4().hex, _Waiter()
        self._waiting[call_id] = waiter
        try:
            await self._session.send(
                ClientToolCall(
                    call_id=call_id,
                    tool_name=tool.name,
                    arguments_json=msgspec.json.encode(args).decode(),
                    timeout_ms=int(seconds * 1000),
                )
            )
            with anyio.move_on_after(seconds):
                await waiter.answered.wait()
        finally:
            del self._waiting[call_id]
        return waiter.outcome or _timed_out(tool.name, seconds)

    def relay(self, call_id: str, answer: Callable[[bytes], None]) -> None:
        """Hand the client's answer to a call that another node made on to ``answer``, once, as it comes.

        That node gives up waiting by itself; of calls that no client answered the oldest are forgotten.
        """
        self._relayed[call_id] = answer
        while len(self._relayed) > _MOST_RELAYED:
            self._relayed.popitem(last=False)

    def settle(self, result: ClientToolResult) -> None:
        """Take a client's answer; one nobody waits for any more is ignored."""
        if (answer := self._relayed.pop(result.call_id, None)) is not None:
            answer(bytes(result))
            return
        waiter = self._waiting.get(result.call_id)
        if waiter is None:
            return
        content = tuple(
            ToolContent(type=c.type or "text", text=c.text, mime_type=c.mime_type, data=c.data, uri=c.uri)
            for c in result.content
        )
        if result.error_message and not content:
            content = (ToolContent(text=result.error_message),)
        waiter.outcome = ToolOutcome(content=content, is_error=result.is_error or bool(result.error_message))
        waiter.answered.set()


def _timed_out(name: str, seconds: float) -> ToolOutcome:
    if name == _ASK_USER:
        answer = {"answer": "", "fromOption": False, "timedOut": True, "timeoutMs": int(seconds * 1000)}
        return ToolOutcome(content=(ToolContent(type="json", text=json.dumps(answer)),))
    text = f"{UNREACHABLE}: the client did not answer {name} within {seconds:g} s"
    return ToolOutcome(content=(ToolContent(text=text),), is_error=True)
