"""Which payloads of MemqlService travel between nodes, and which of them end a request (spec "Forwarding")."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTINUATIONS", "OPENERS", "REPEATABLE", "REQUEST", "TERMINAL"]

REQUEST: Final = "si_forward_request"
"""What carries them."""

OPENERS: Final = frozenset(
    {
        "si_chat",
        "si_speech",
        "si_transcribe",
        "si_transcribe_stream_start",
        "si_suggest",
        "list_tools",
        "call_tool",
        "agent_generate_turn",
    }
)
"""What begins a request on another node."""

CONTINUATIONS: Final = frozenset(
    {"si_transcribe_stream_chunk", "si_transcribe_stream_end", "client_tool_result", "agent_preempt_turn"}
)
"""What belongs to a request that runs there already."""

REPEATABLE: Final = frozenset({"si_chat", "si_suggest", "si_speech", "list_tools"})
"""Openers without an effect: one that has brought no output yet may be tried on another node."""

TERMINAL: Final = frozenset(
    {
        "si_chat_result",
        "si_speech_result",
        "si_transcribe_result",
        "si_transcribe_stream_complete",
        "si_suggest_result",
        "list_tools_result",
        "call_tool_result",
        "agent_generate_turn_complete",
        "query_error",
    }
)
"""Answers after which nothing more comes."""
