"""What this node shows to others: a token that it was given, or those that the identity service mints for it (spec
"/node/bootstrap, ensure_bearer_token")."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio
import grpc

from memql.auth.bootstrap import NodeToken
from memql.errors import Code, MemqlError
from memql.mesh import metrics
from memql.mesh.links.backoff import Backoff

__all__ = ["FixedCredential", "MintedCredential", "NoCredential"]

log = logging.getLogger(__name__)

_PATIENCE: Final = 30.0
_RENEW_AT: Final = 0.8


Renewed: TypeAlias = Callable[[str], None]


def _nobody(authorization: str) -> None:
    """Nobody asked to be told."""


class NoCredential:
    """A mesh without credentials: nothing is shown.

    :param channel: how connections are secured.
    """

    ready: Final = True

    def __init__(self, channel: grpc.ChannelCredentials | None) -> None:
        self.renewed: Renewed = _nobody
        self._channel = channel

    async def authorization(self) -> str:
        """Nothing."""
        return ""

    def refused(self, authorization: str) -> None:
        """There is no other to get."""

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """See :class:`~memql.mesh.links.gate.Credential`."""
        return self._channel

    async def run(self) -> None:
        """Nothing to look after."""
        await anyio.sleep_forever()


class FixedCredential:
    """``MEMQL_NODE_TOKEN``: whoever runs the node replaces it.

    :param channel: how connections are secured.
    """

    ready: Final = True

    def __init__(self, token: str, channel: grpc.ChannelCredentials | None) -> None:
        self.renewed: Renewed = _nobody
        self._header = f"Bearer {token}"
        self._channel = channel
        self._warned = False

    async def authorization(self) -> str:
        """The token."""
        return self._header

    def refused(self, authorization: str) -> None:
        """Says so once."""
        if not self._warned:
            self._warned = True
            log.error("a peer does not accept MEMQL_NODE_TOKEN; give the node another one and start it again")

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """See :class:`~memql.mesh.links.gate.Credential`."""
        return self._channel

    async def run(self) -> None:
        """Nothing to look after."""
        await anyio.sleep_forever()


class MintedCredential:
    """Tokens that the identity service mints, each before the last one expires, and at once when one is refused.

    :param mint: asks for one.
    :param channel: how connections are secured.
    :param backoff: waits between attempts; its ``stable_after`` is how long a token must have held for the next one to
        be asked for at once.
    """

    def __init__(
        self,
        mint: Callable[[], Awaitable[NodeToken]],
        channel: grpc.ChannelCredentials | None,
        *,
        backoff: Backoff | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self.renewed: Renewed = _nobody
        """Told of every header that takes the place of one that still counts."""
        self._mint = mint
        self._channel = channel
        self._backoff = backoff or Backoff(2.0, 30.0, 10.0)
        self._patience = patience
        self._header = ""
        self._here = anyio.Event()
        self._refused = anyio.Event()

    @property
    def ready(self) -> bool:
        """Whether there is a token to show."""
        return bool(self._header)

    async def authorization(self) -> str:
        """See :class:`~memql.mesh.links.gate.Credential`; waits for a token that is being asked for."""
        with anyio.move_on_after(self._patience):
            await self._here.wait()
        if not self._header:
            raise MemqlError(Code.UNAVAILABLE, "this node has no credential yet; see what the log says about it")
        return self._header

    def refused(self, authorization: str) -> None:
        """See :class:`~memql.mesh.links.gate.Credential`."""
        if authorization == self._header:
            self._forget()
            self._refused.set()

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """See :class:`~memql.mesh.links.gate.Credential`."""
        return self._channel

    async def run(self) -> None:
        """Get tokens and replace them, until cancelled."""
        while True:
            token = await self._get()
            self._refused = anyio.Event()
            self._hold(token)
            began = time.monotonic()
            with anyio.move_on_after(_RENEW_AT * _life(token)):
                await self._refused.wait()
            self._backoff.connected_for(time.monotonic() - began)
            if self._refused.is_set() and time.monotonic() - began < self._backoff.stable_after:
                await anyio.sleep(self._backoff.next_wait())

    async def _get(self) -> NodeToken:
        while True:
            try:
                return await self._mint()
            except MemqlError as error:
                if error.code is Code.CONFIG_INVALID:
                    raise
                log.warning("no credential for this node yet: %s", error.message)
            await anyio.sleep(self._backoff.next_wait())

    def _hold(self, token: NodeToken) -> None:
        before, self._header = self._header, f"Bearer {token.token}"
        self._here.set()
        metrics.token_expires.set(token.expires_at.timestamp())
        log.info("this node's credential holds until %s", token.expires_at.isoformat(timespec="seconds"))
        if before:
            self.renewed(self._header)

    def _forget(self) -> None:
        self._header = ""
        self._here = anyio.Event()


def _life(token: NodeToken) -> float:
    return max(1.0, token.expires_at.timestamp() - time.time())
