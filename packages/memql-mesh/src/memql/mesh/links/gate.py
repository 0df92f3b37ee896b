"""Who may open a stream to this node, and what this node shows when it opens one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import grpc

from memql.errors import MemqlError

__all__ = ["Admission", "Credential", "Gate", "OpenGate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a verified credential says. Empty ids are those of a mesh without credentials.

    ``expires_at`` is seconds since 1970; None when it does not expire. ``credential_id`` is its row.
    """

    node_id: str = ""
    node_type: str = ""
    credential_id: str = ""
    expires_at: float | None = None

    def fits(self, node_id: str, node_type: str) -> bool:
        """Whether a node that says this of itself is the one the credential is for."""
        return not self.node_id or (self.node_id, self.node_type) == (node_id, node_type)


class Gate(Protocol):
    """Verifies credentials of nodes."""

    async def admit(self, authorization: str) -> Admission:
        """Verify what a node showed.

        :raises MemqlError: ``UNAUTHENTICATED`` or ``FORBIDDEN``.
        """
        ...

    def watch(self, admission: Admission, end: Callable[[MemqlError], None]) -> AbstractContextManager[None]:
        """Watch over a credential while its stream lives: ``end`` is called when it expires or is revoked."""
        ...


class OpenGate:
    """Lets everybody in: a mesh on one machine, without an identity service."""

    async def admit(self, authorization: str) -> Admission:
        """Nothing is verified."""
        return Admission()

    def watch(self, admission: Admission, end: Callable[[MemqlError], None]) -> AbstractContextManager[None]:
        """Nothing ends."""
        return nullcontext()


class Credential(Protocol):
    """What this node shows to others."""

    async def authorization(self) -> str:
        """The header to show; empty when none is needed.

        :raises MemqlError: ``UNAVAILABLE`` while there is none.
        """
        ...

    async def refused(self, error: MemqlError) -> None:
        """It was refused as invalid: get another one before the next dial."""
        ...

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """How connections are secured; None for plaintext."""
        ...
