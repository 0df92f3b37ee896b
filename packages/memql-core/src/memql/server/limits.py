"""The bounds of one stream (spec "Envelopes", "GET /memql/ws")."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GRPC_MAX_MESSAGE_BYTES", "MAX_QUERY_BYTES", "Limits"]

GRPC_MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Bytes per gRPC message, both ways."""

MAX_QUERY_BYTES = 256 * 1024
"""Bytes of a query's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one stream may hold open.

    ``running_queries`` bounds how many queries run at once; further ones wait, at most ``queued_queries``.
    None lets queries count as any other request. ``bad_frames`` is how many undecodable frames a minute end
    the stream.
    """

    inflight: int = 64
    running_queries: int | None = None
    queued_queries: int = 64
    subscriptions: int = 256
    event_queue: int = 256
    bad_frames: int = 10
