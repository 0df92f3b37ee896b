"""Who may open a stream to this node, and what this node shows when it opens one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import grpc

from memql.errors import MemqlError

__all__ = ["AUTHORIZATION", "Admission", "Credential", "End", "Gate", "OpenGate", "Renew"]

AUTHORIZATION: Final = "authorization"
"""The metadata that a credential is shown in: of the call, and later of a heartbeat, when it has been renewed."""

Renew: TypeAlias = Callable[[str], Awaitable[None]]
"""Takes the fresh credential that the other side of a stream shows."""

End: TypeAlias = Callable[[MemqlError], None]
"""Ends a stream, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a verified credential says. Empty ids are those of a mesh without credentials.

    ``expires_at`` is seconds since 1970; None when it does not expire. ``credential_id`` is its row, and ``caller`` the
    network address that it came from.
    """

    node_id: str = ""
    node_type: str = ""
    credential_id: str = ""
    expires_at: float | None = None
    caller: str = ""

    def fits(self, node_id: str, node_type: str) -> bool:
        """Whether a node that says this of itself is the one the credential is for."""
        return not self.node_id or (self.node_id, self.node_type) == (node_id, node_type)


class Gate(Protocol):
    """Verifies credentials of nodes."""

    async def admit(self, authorization: str, caller: str) -> Admission:
        """Verify what a node showed.

        :param caller: the network address that it called from.
        :raises MemqlError: ``UNAUTHENTICATED`` or ``FORBIDDEN``; ``UNAVAILABLE`` while it cannot be verified.
        """
        ...

    def watch(self, admission: Admission, end: End) -> AbstractContextManager[Renew | None]:
        """Watch over a credential while its stream lives: ``end`` is called when it expires or is revoked. Gives what
        takes its successor; None where there is nothing to renew."""
        ...

    def mismatched(self, admission: Admission, node_id: str, node_type: str) -> None:
        """A node said that it is another one than its credential is for; it was refused."""
        ...


class OpenGate:
    """Lets everybody in: a mesh on one machine, without an identity service."""

    async def admit(self, authorization: str, caller: str) -> Admission:
        """Nothing is verified."""
        return Admission(caller=caller)

    def watch(self, admission: Admission, end: End) -> AbstractContextManager[Renew | None]:
        """Nothing ends."""
        return nullcontext()

    def mismatched(self, admission: Admission, node_id: str, node_type: str) -> None:
        """Cannot happen: there is nothing to differ from."""


class Credential(Protocol):
    """What this node shows to others."""

    async def authorization(self) -> str:
        """The header to show; empty when none is needed.

        :raises MemqlError: ``UNAVAILABLE`` while there is none.
        """
        ...

    def refused(self, authorization: str) -> None:
        """A peer did not accept it: another one must be got before the next dial."""
        ...

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """How connections are secured; None for plaintext."""
        ...
