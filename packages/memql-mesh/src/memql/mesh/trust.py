"""What a node shows to others and asks of them: credentials and the security of connections, from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from memql.errors import MemqlError
from memql.mesh.links.gate import Credential, Gate, OpenGate

if TYPE_CHECKING:
    from memql.node.node import Node

__all__ = ["Trust", "open_trust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who may come in, what this node shows, and how its listener is secured (None for plaintext)."""

    gate: Gate
    credential: Credential
    server_credentials: grpc.ServerCredentials | None = None


class _NoCredential:
    """A mesh without credentials: nothing is shown, nothing is secured."""

    async def authorization(self) -> str:
        """Nothing."""
        return ""

    async def refused(self, error: MemqlError) -> None:
        """There is no other to get."""

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Plaintext."""
        return None


@asynccontextmanager
async def open_trust(node: Node) -> AsyncIterator[Trust]:
    """The trust of a node, while the block runs."""
    yield Trust(gate=OpenGate(), credential=_NoCredential())
