"""The parts of a client that have a family of calls each: tools, sense, policies, automations, the node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from memql.client._codec import plain_arguments
from memql.client._link import LinkLostError
from memql.client._session import Session
from memql.client._tool_calls import ClientTools, ToolHandler, content_items
from memql.client.model import (
    Completion,
    Definition,
    Diagnostic,
    DrainResult,
    Hover,
    Parameter,
    PolicyResult,
    Position,
    RunEvent,
    Signature,
    SignatureHelp,
    SourceRange,
    Token,
    Tool,
    ToolResult,
)
from memql.errors import Code, MemqlError, Status
from memql.wire import messages
from memql.wire.frames import Frame
from memql.wire.structs import from_struct, to_struct

__all__ = ["Automations", "Node", "Policies", "Sense", "Tools"]

_H = TypeVar("_H", bound=ToolHandler)
_RUN_TIMEOUT = 60.0
_TOOL_TIMEOUT = 120.0


class Tools:
    """Tools that the server offers, and tools that this client executes for it."""

    def __init__(self, session: Session, client_tools: ClientTools) -> None:
        self._session = session
        self._client_tools = client_tools

    async def list(self) -> list[Tool]:
        """Every tool that the caller may call, by name."""
        found: list[Tool] = []
        cursor = ""
        while True:
            page = await self._session.ask(
                messages.ListToolsMsg(cursor=cursor), messages.ListToolsResult, read=True, timeout=None
            )
            found.extend(map(_tool, page.tools))
            cursor = page.next_cursor
            if not cursor:
                return found

    async def call(self, name: str, /, **args: Any) -> ToolResult:
        """Call a tool. Its own failure is a result with ``is_error``; it is given 120 s.

        :raises MemqlError: when it could not be called at all.
        """
        message = messages.CallToolMsg(name=name, arguments=to_struct(plain_arguments(args)))
        result = await self._session.ask(message, messages.CallToolResult, read=False, timeout=_TOOL_TIMEOUT)
        return ToolResult(content=content_items(result.content), is_error=result.is_error)

    def handler(self, name: str) -> Callable[[_H], _H]:
        """Decorate a coroutine function that executes a client tool: it takes a :class:`ClientToolCall`; what
        it returns is the result, what it raises is a failed one."""

        def register(function: _H) -> _H:
            self._client_tools.register(name, function)
            return function

        return register


def _tool(tool: messages.ToolDescriptor) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=msgspec.json.decode(tool.input_schema) if tool.input_schema else {},
        client_execution=tool.client_execution,
        scopes=tuple(tool.scopes),
    )


class Sense:
    """What an editor asks about memQL source."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def tokenize(self, source: str) -> list[Token]:
        """The tokens of a text."""
        message = messages.SenseTokenizeMsg(source=source)
        result = await self._session.ask(message, messages.SenseTokenizeResult, read=True, timeout=None)
        return [Token(type=one.type, literal=one.literal, range=_range(one.range)) for one in result.tokens]

    async def complete(self, source: str, position: Position, path: str = "") -> list[Completion]:
        """What could stand at a cursor, best first."""
        message = messages.SenseCompleteMsg(source=source, cursor=_position(position), file_path=path)
        result = await self._session.ask(message, messages.SenseCompleteResult, read=True, timeout=None)
        return [
            Completion(
                label=item.label,
                kind=item.kind,
                detail=item.detail,
                documentation=item.documentation,
                insert_text=item.insert_text,
                sort_priority=item.sort_priority,
                is_snippet=item.is_snippet,
            )
            for item in result.items
        ]

    async def diagnose(self, source: str, path: str = "") -> list[Diagnostic]:
        """The problems of a text."""
        message = messages.SenseDiagnoseMsg(source=source, file_path=path)
        result = await self._session.ask(message, messages.SenseDiagnoseResult, read=True, timeout=None)
        return [
            Diagnostic(
                range=_range(one.range),
                severity=(one.severity.name or "error").lower(),
                message=one.message,
                code=one.code,
            )
            for one in result.diagnostics
        ]

    async def hover(self, source: str, position: Position, path: str = "") -> Hover | None:
        """What is known about the thing at a position, or None."""
        message = messages.SenseHoverMsg(source=source, position=_position(position), file_path=path)
        result = await self._session.ask(message, messages.SenseHoverResult, read=True, timeout=None)
        if not result.contents:
            return None
        return Hover(contents=result.contents, range=_range(result.range) if result.range else None)

    async def signature_help(self, source: str, position: Position, path: str = "") -> SignatureHelp:
        """The signatures of the call at a position."""
        message = messages.SenseSignatureHelpMsg(source=source, position=_position(position), file_path=path)
        result = await self._session.ask(message, messages.SenseSignatureHelpResult, read=True, timeout=None)
        return SignatureHelp(
            signatures=tuple(map(_signature, result.signatures)),
            active_signature=result.active_signature,
            active_parameter=result.active_parameter,
        )

    async def definition(self, source: str, position: Position, path: str = "") -> list[Definition]:
        """Where the thing at a position is declared."""
        message = messages.SenseDefinitionMsg(source=source, position=_position(position), file_path=path)
        result = await self._session.ask(message, messages.SenseDefinitionResult, read=True, timeout=None)
        return [
            Definition(file=one.file, kind=one.kind, range=_range(one.range) if one.range else None)
            for one in result.targets
        ]


def _position(position: Position) -> messages.SensePosition:
    return messages.SensePosition(line=position.line, column=position.column)


def _range(span: messages.SenseRange | None) -> SourceRange:
    span = span or messages.SenseRange()
    start, end = span.start or messages.SensePosition(), span.end or messages.SensePosition()
    return SourceRange(Position(start.line, start.column), Position(end.line, end.column))


def _signature(signature: messages.SenseSignature) -> Signature:
    return Signature(
        label=signature.label,
        documentation=signature.documentation,
        parameters=tuple(Parameter(label=one.label, documentation=one.documentation) for one in signature.parameters),
    )


class Policies:
    """Decision policies that the server lets clients evaluate."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def evaluate(self, name: str, args: Mapping[str, Any] | None = None, trace: bool = False) -> PolicyResult:
        """Evaluate a policy.

        :raises MemqlError: what the policy answered instead of a value; ``details.policyCode`` is its code,
            such as ``POLICY_UNKNOWN`` or ``POLICY_NOT_FRONTEND_VISIBLE``.
        """
        message = messages.EvaluatePolicyMsg(
            policy_name=name,
            args_json=msgspec.json.encode(plain_arguments(args or {})).decode(),
            return_trace=trace,
        )
        result = await self._session.ask(message, messages.EvaluatePolicyResult, read=True, timeout=None)
        if result.error_code:
            raise _policy_error(result)
        return PolicyResult(
            value=msgspec.json.decode(result.result_json) if result.result_json else None,
            trace=msgspec.json.decode(result.trace_json) if result.trace_json else None,
        )


_POLICY_CODES = {
    "POLICY_UNKNOWN": Code.NOT_FOUND,
    "POLICY_NOT_FRONTEND_VISIBLE": Code.FORBIDDEN,
    "POLICY_TIER_MISMATCH": Code.FORBIDDEN,
}


def _policy_error(result: messages.EvaluatePolicyResult) -> MemqlError:
    code = _POLICY_CODES.get(result.error_code, Code.INVALID_ARGUMENT)
    return MemqlError(code, result.error_message, details={"policyCode": result.error_code})


class Automations:
    """Running automations by hand; needs the owner or an admin."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        target: str | None = None,
        *,
        concept: str = "",
        topic: str = "",
        output: bool = False,
        timeout: float = _RUN_TIMEOUT,
    ) -> AsyncIterator[RunEvent]:
        """Run an automation and follow it: accepted first, then each step, complete last.

        :param payload: of the event that the run pretends to answer; ``concept`` or ``topic`` name that
            event.
        :param target: the type of node that should run it.
        :param output: whether steps come with their output.
        :param timeout: seconds for the whole run, at most 300.
        :raises MemqlError: when the run is refused, or fails as a whole. Leaving the iteration early cancels
            the run.
        """
        message = messages.RunAutomationMsg(
            automation=name,
            payload=to_struct(plain_arguments(payload or {})),
            concept=concept,
            topic=topic,
            target_node_type=target or "",
            timeout_ms=int(timeout * 1000),
            include_step_output=output,
        )
        link, flow, request_id = await self._session.open_flow(message, _run_is_over, timeout)
        try:
            async with aclosing(flow.frames):
                accepted = False
                async for frame in flow.frames:
                    event = _run_message(frame)
                    if not accepted and event.complete is not None and event.complete.error:
                        raise _refused_run(event.complete)
                    accepted = True
                    yield _run_event(event)
            if flow.error is not None:
                raise flow.error.error if isinstance(flow.error, LinkLostError) else flow.error
        finally:
            link.close_flow(flow, request_id)


def _run_message(frame: Frame) -> messages.AutomationRunEvent:
    message = frame.message()
    if not isinstance(message, messages.AutomationRunEvent):
        raise MemqlError(Code.INTERNAL, f"the server answered a run with {frame.name!r}")
    return message


def _run_is_over(frame: Frame) -> bool:
    return frame.name != "automation_run_event" or _run_message(frame).complete is not None


def _refused_run(complete: messages.AutomationRunComplete) -> MemqlError:
    code = Code(complete.error) if complete.error in Code.__members__ else Code.INTERNAL
    return MemqlError(code, complete.error_message or complete.error)


def _run_event(message: messages.AutomationRunEvent) -> RunEvent:
    if accepted := message.accepted:
        return RunEvent(
            kind="accepted",
            run_id=message.run_id,
            automation=accepted.automation,
            detail={
                "definitionNote": accepted.definition_note,
                "triggerKind": accepted.trigger_kind,
                "triggerTopic": accepted.trigger_topic,
                "nodeId": accepted.requested_on_node_id,
            },
        )
    if step := message.step:
        return RunEvent(
            kind="step",
            run_id=message.run_id,
            step=step.step_id,
            status=step.status,
            duration_ms=step.duration_ms,
            output=from_struct(step.output) if step.output else None,
            error=step.error,
        )
    complete = message.complete or messages.AutomationRunComplete()
    return RunEvent(
        kind="complete",
        run_id=message.run_id,
        status=complete.status,
        duration_ms=complete.duration_ms,
        error=complete.error_message or complete.error,
        detail={
            "steps": complete.step_count,
            "code": Status(complete.error_code).name if complete.error_code else "",
            "nodeId": complete.executed_on_node_id,
        },
    )


class Node:
    """The node at the other end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def drain(self, reason: str = "") -> DrainResult:
        """Have the node finish what it runs and take nothing new; needs the owner or an admin."""
        message = messages.NodeMaintenanceMsg(action="drain", reason=reason)
        result = await self._session.ask(message, messages.NodeMaintenanceResult, read=False, timeout=None)
        if result.error_code:
            codes: dict[str, Code] = {"permission_denied": Code.FORBIDDEN, "unavailable": Code.UNAVAILABLE}
            raise MemqlError(codes.get(result.error_code, Code.INVALID_ARGUMENT), result.error_message)
        return DrainResult(
            ok=result.ok,
            already_draining=result.already_draining,
            node_id=result.node_id,
            state=result.state,
        )
