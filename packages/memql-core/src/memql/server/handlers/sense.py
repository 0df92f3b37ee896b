"""``sense_*``: what an editor asks. Answers are computed in a worker thread, off the event loop."""

from __future__ import annotations

import anyio.to_thread

from memql.errors import Code, MemqlError
from memql.lang.ast import Span
from memql.lang.diagnostics import Finding
from memql.server.replies import Payload
from memql.server.routing import Route
from memql.server.sense_ports import Sense, SenseCompletion, SenseSignature
from memql.server.session import Call
from memql.wire.messages import (
    SenseCompleteResult,
    SenseCompletionItem,
    SenseDefinitionResult,
    SenseDefinitionTarget,
    SenseDiagnoseResult,
    SenseDiagnostic,
    SenseHoverResult,
    SenseParameter,
    SensePosition,
    SenseRange,
    SenseSeverity,
    SenseSignatureHelpResult,
    SenseTokenizeResult,
)
from memql.wire.messages import SenseSignature as WireSignature
from memql.wire.messages import SenseToken as WireToken

__all__ = ["ROUTES"]

MAX_SOURCE_CHARACTERS = 4 * 1024 * 1024

_SEVERITIES = {"error": SenseSeverity.ERROR, "warning": SenseSeverity.WARNING}


def _sense(call: Call) -> Sense:
    if call.services.sense is None:
        raise MemqlError(Code.UNAVAILABLE, "editor support is not available on this node")
    if len(call.message.source) > MAX_SOURCE_CHARACTERS:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the source is longer than {MAX_SOURCE_CHARACTERS} characters")
    return call.services.sense


def _place(position: SensePosition | None) -> tuple[int, int]:
    if position is None:
        raise MemqlError(Code.INVALID_ARGUMENT, "the position is missing: give line and column, both from 1")
    return max(position.line, 1), max(position.column, 1)


async def _tokenize(call: Call) -> Payload:
    sense, source = _sense(call), call.message.source
    tokens = await anyio.to_thread.run_sync(sense.tokenize, source)
    return SenseTokenizeResult(
        request_id=call.request_id,
        tokens=[WireToken(type=t.type, literal=t.literal, range=_range(t.span)) for t in tokens],
    )


async def _complete(call: Call) -> Payload:
    sense, message = _sense(call), call.message
    line, column = _place(message.cursor)
    catalog = call.services.engine.catalog
    items = await anyio.to_thread.run_sync(sense.complete, message.source, line, column, message.file_path, catalog)
    return SenseCompleteResult(request_id=call.request_id, items=[_item(item) for item in items])


async def _diagnose(call: Call) -> Payload:
    sense, message = _sense(call), call.message
    findings = await anyio.to_thread.run_sync(
        sense.diagnose, message.source, message.file_path, call.services.engine.catalog
    )
    return SenseDiagnoseResult(request_id=call.request_id, diagnostics=[_diagnostic(finding) for finding in findings])


async def _hover(call: Call) -> Payload:
    sense, message = _sense(call), call.message
    line, column = _place(message.position)
    catalog = call.services.engine.catalog
    hover = await anyio.to_thread.run_sync(sense.hover, message.source, line, column, message.file_path, catalog)
    if hover is None:
        return SenseHoverResult(request_id=call.request_id)
    return SenseHoverResult(request_id=call.request_id, contents=hover.contents, range=_range(hover.span))


async def _definition(call: Call) -> Payload:
    sense, message = _sense(call), call.message
    line, column = _place(message.position)
    catalog = call.services.engine.catalog
    targets = await anyio.to_thread.run_sync(sense.definition, message.source, line, column, message.file_path, catalog)
    return SenseDefinitionResult(
        request_id=call.request_id,
        targets=[
            SenseDefinitionTarget(file=target.span.file, kind=target.kind, range=_range(target.span))
            for target in targets
        ],
    )


async def _signature_help(call: Call) -> Payload:
    sense, message = _sense(call), call.message
    line, column = _place(message.position)
    catalog = call.services.engine.catalog
    found = await anyio.to_thread.run_sync(
        sense.signature_help, message.source, line, column, message.file_path, catalog
    )
    if found is None:
        return SenseSignatureHelpResult(request_id=call.request_id)
    return SenseSignatureHelpResult(
        request_id=call.request_id,
        signatures=[_signature(signature) for signature in found.signatures],
        active_signature=found.active_signature,
        active_parameter=found.active_parameter,
    )


def _item(item: SenseCompletion) -> SenseCompletionItem:
    return SenseCompletionItem(
        label=item.label,
        kind=item.kind,
        detail=item.detail,
        documentation=item.documentation,
        insert_text=item.insert_text,
        sort_priority=item.sort_priority,
        is_snippet=item.is_snippet,
    )


def _signature(signature: SenseSignature) -> WireSignature:
    return WireSignature(
        label=signature.label,
        documentation=signature.documentation,
        parameters=[SenseParameter(label=p.label, documentation=p.documentation) for p in signature.parameters],
    )


def _diagnostic(finding: Finding) -> SenseDiagnostic:
    return SenseDiagnostic(
        range=_range(finding.span),
        severity=_SEVERITIES[finding.severity],
        message=finding.message,
        code=finding.code,
    )


def _range(span: Span) -> SenseRange:
    return SenseRange(
        start=SensePosition(line=span.line, column=span.column),
        end=SensePosition(line=span.end_line, column=span.end_column),
    )


ROUTES = (
    Route(name="sense_tokenize", handler=_tokenize),
    Route(name="sense_complete", handler=_complete),
    Route(name="sense_diagnose", handler=_diagnose),
    Route(name="sense_hover", handler=_hover),
    Route(name="sense_signature_help", handler=_signature_help),
    Route(name="sense_definition", handler=_definition),
)
