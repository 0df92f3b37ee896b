"""Ending open streams whose credential no longer counts, with one look at the database for all of them (spec
"Revocation")."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import anyio
import anyio.lowlevel
from prometheus_client import Counter

from memql.auth.credentials import CredentialStore
from memql.auth.refusals import Cause
from memql.auth.standing import Credential, Row, Standing, judge
from memql.errors import MemqlError

__all__ = ["BLIND_SECONDS", "WINDOW_SECONDS", "OnRevoked", "OnStanding", "RevocationWatch"]

log = logging.getLogger(__name__)

WINDOW_SECONDS = 1.5
BLIND_SECONDS = 60.0
"""How long streams whose check must not fail open are kept while the database cannot be asked: a failover fits."""
_SHORTEST = 0.25
"""Seconds between two looks, however much there is to hurry for."""
_BATCH = 256

OnRevoked: TypeAlias = Callable[[Cause], None]
"""Told once, why; must not wait or raise."""
OnStanding: TypeAlias = Callable[[Standing], None]
"""Told after each look that the credential counts, with its rows; must not wait or raise."""

_fail_open = Counter(
    "memql_auth_revocation_fail_open_total",
    "Sessions that were kept although the database could not be asked whether they are revoked",
)


@dataclass(slots=True, eq=False)
class _Watched:
    credential: Credential
    on_revoked: OnRevoked
    on_standing: OnStanding | None


class RevocationWatch:
    """Looks every ``window`` seconds at the credentials of everything that is registered, in one statement.

    A window of at most four seconds ends a stream within five of the revocation, whichever process wrote it.

    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        store: CredentialStore,
        *,
        window: float = WINDOW_SECONDS,
        blind: float = BLIND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._window = window
        self._blind_seconds = blind
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self._occupied = anyio.Event()
        self._hurried = anyio.Event()
        self._blind_since: float | None = None

    def __len__(self) -> int:
        return len(self._watched)

    @contextmanager
    def watching(
        self, credential: Credential, on_revoked: OnRevoked, on_standing: OnStanding | None = None
    ) -> Iterator[None]:
        """Watch a credential while the block runs.

        :param on_revoked: called at most once, when it no longer counts.
        :param on_standing: called after every look at which it does, for roles that change.
        """
        watched = _Watched(credential, on_revoked, on_standing)
        self._watched[id(watched)] = watched
        self._occupied.set()
        try:
            yield
        finally:
            self._watched.pop(id(watched), None)

    def hurry(self) -> None:
        """Look again at once, or as soon as the last look is a quarter of a second old: something has changed."""
        self._hurried.set()

    async def run(self) -> None:
        """Look until cancelled; nothing is asked while nothing is registered."""
        while True:
            await self._occupied.wait()
            if not self._watched:
                self._occupied = anyio.Event()
                continue
            self._hurried = anyio.Event()
            await self._look()
            await anyio.sleep(min(_SHORTEST, self._window))
            with anyio.move_on_after(self._window - _SHORTEST):
                await self._hurried.wait()

    async def _look(self) -> None:
        watched = tuple(self._watched.values())
        ids = dict.fromkeys(node_id for one in watched for node_id in one.credential.row_ids)
        try:
            rows = await self._store.refresh(ids)
        except MemqlError as error:
            self._cannot_see(watched, error)
            return
        self._blind_since = None
        await self._tell(watched, rows)

    async def _tell(self, watched: tuple[_Watched, ...], rows: Mapping[str, Row]) -> None:
        now = datetime.now(UTC)
        verdicts: dict[Credential, Standing] = {}
        for number, one in enumerate(watched):
            if number % _BATCH == _BATCH - 1:
                await anyio.lowlevel.checkpoint()
            if id(one) not in self._watched:
                continue
            standing = verdicts.get(one.credential)
            if standing is None:
                standing = verdicts[one.credential] = judge(one.credential, rows, now)
            # Whoever holds a stream knows when its credential expires, and may wait for another one then.
            if standing.refusal not in (None, Cause.EXPIRED):
                self._end(one, standing.refusal)
            elif one.on_standing is not None:
                one.on_standing(standing)

    def _end(self, watched: _Watched, cause: Cause) -> None:
        del self._watched[id(watched)]
        log.info("a credential of class %s no longer counts (%s)", watched.credential.kind.value, cause.value)
        watched.on_revoked(cause)

    def _cannot_see(self, watched: tuple[_Watched, ...], error: MemqlError) -> None:
        """Sessions fail open. Epochs and machine credentials fail closed, once it has lasted longer than a failover."""
        now = self._clock()
        if self._blind_since is None:
            self._blind_since = now
        sessions = {one.credential.session_id for one in watched if one.credential.session_id}
        _fail_open.inc(len(sessions))
        log.warning(
            "%d sessions and %d credentials cannot be checked for revocation and are kept: %s",
            len(sessions),
            len({one.credential.credential_id for one in watched if one.credential.credential_id}),
            error.message,
        )
        if now - self._blind_since < self._blind_seconds:
            return
        for one in watched:
            if id(one) in self._watched and (one.credential.credential_id or one.credential.epoch is not None):
                self._end(one, Cause.UNCHECKED)
