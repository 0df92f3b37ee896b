"""The chat that answers without a language model: it quotes what the asker may read, or runs a tool that was named, and
never pretends to be a model (spec "No key at all")."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, ClassVar, Final

from memql.agent.recall import Found, Recall
from memql.agent.tool_requests import ToolRequest, tool_request
from memql.engine.context import RequestContext
from memql.engine.tools.dispatch import ToolOutcome
from memql.engine.tools.model_ports import Bound, Capability, ChatEvent, ChatRequest, Finish, TextDelta
from memql.ids import short_id
from memql.lang.catalog import Catalog
from memql.server.ports import Tools

__all__ = ["NOTICE", "THRESHOLD", "LocalExtractive"]

NOTICE: Final = "No language model is set up here, so nothing below was written by one."
"""The line that every answer begins with."""

THRESHOLD: Final = 0.35
"""The least similarity of a passage that is quoted."""

_QUOTES: Final = 5
_QUOTE_CHARACTERS: Final = 280
_CONTEXT_CHARACTERS: Final = 160
_ID_CHARACTERS: Final = 24
_RESULT_CHARACTERS: Final = 64 * 1024


class LocalExtractive:
    """The client for providers of type ``LocalExtractive``."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, catalog: Callable[[], Catalog], tools: Tools, recall: Recall) -> None:
        self._catalog = catalog
        self._tools = tools
        self._recall = recall

    async def chat(self, bound: Bound, request: ChatRequest, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        """Answer the last message of the user."""
        question = next((one.content for one in reversed(request.messages) if one.role == "user"), "")
        yield TextDelta(f"{NOTICE}\n\n")
        asked = tool_request(question, self._tools.visible(ctx), self._catalog())
        answer = self._from_recall(question, ctx) if asked is None else self._from_tool(asked, ctx)
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    # --- tools -----------------------------------------------------------------------------------------------------

    async def _from_tool(self, asked: ToolRequest, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        told: dict[str, Any] = {"name": asked.name, "arguments": dict(asked.arguments)}
        if asked.refusal:
            yield TextDelta(asked.refusal)
            yield Finish(metadata={"tool": {**told, "ran": False}})
            return
        outcome = await self._tools.call(asked.name, asked.arguments, ctx)
        yield TextDelta(_tool_text(asked.name, outcome))
        yield Finish(metadata={"tool": {**told, "ran": True, "isError": outcome.is_error}})

    # --- recall ----------------------------------------------------------------------------------------------------

    async def _from_recall(self, question: str, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        recalled = await self._recall.find(question, ctx.actor, _QUOTES)
        near = [one for one in recalled.found if one.similarity >= THRESHOLD]
        if not near:
            yield TextDelta("Nothing found: no text that you may read is near enough to the question.")
        for number, one in enumerate(near, 1):
            yield TextDelta(f"{_quoted(number, one)}\n")
        metadata: dict[str, Any] = {"citations": [_citation(one) for one in near]}
        if recalled.partial:
            metadata["partial"] = True
        yield Finish(metadata=metadata)


def _tool_text(name: str, outcome: ToolOutcome) -> str:
    head = f"{name} failed:" if outcome.is_error else f"{name} gave:"
    text = "\n".join(item.text or item.uri for item in outcome.content)
    if len(text) > _RESULT_CHARACTERS:
        text = f"{text[:_RESULT_CHARACTERS]}\n(cut after {_RESULT_CHARACTERS} characters)"
    return f"{head}\n{text}"


def _quoted(number: int, found: Found) -> str:
    passage = found.passage
    context = _shortened(", ".join(passage.context), _CONTEXT_CHARACTERS)
    about = f" ({context})" if context else ""
    source = f"{short_id(passage.concept)} {_shortened(short_id(passage.id), _ID_CHARACTERS)}"
    return f'[{number}] "{_shortened(passage.text, _QUOTE_CHARACTERS)}"{about}, {source}'


def _shortened(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _citation(found: Found) -> dict[str, Any]:
    passage = found.passage
    return {
        "conceptId": passage.concept,
        "id": passage.id,
        "field": passage.field,
        "similarity": found.similarity,
    }
