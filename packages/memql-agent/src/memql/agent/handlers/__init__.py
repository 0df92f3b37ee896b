"""The payloads of MemqlService that the agent role answers, one module each.

The handlers use nothing of a session but what a call offers: on a mesh they run on behalf of a stream that another node
holds.
"""

from __future__ import annotations

from memql.agent.handlers import chat, suggest

__all__ = ["ROUTES"]

ROUTES = (*chat.ROUTES, *suggest.ROUTES)
