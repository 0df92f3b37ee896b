"""Looking credentials up: sessions, users and credential rows, cached for moments (spec "Revocation").

Answers are kept for five seconds, those about people for less than two, so that a changed role counts at once; a
failure is never kept. Whoever holds a stream open registers with :class:`memql.auth.revocation.RevocationWatch`
instead of asking again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Generic, LiteralString, TypeVar

from memql.auth.schemes import hash_of
from memql.auth.standing import (
    IDENTITY_CONCEPT,
    SETTINGS_ID,
    USER_CONCEPT,
    Credential,
    Row,
    Standing,
    judge,
    read_row,
)
from memql.auth.surfaces import CredentialKind
from memql.graph.database import Database

__all__ = ["CACHE_SECONDS", "ROLE_SECONDS", "Credential", "CredentialStore", "Standing"]

T = TypeVar("T")

CACHE_SECONDS = 5.0
ROLE_SECONDS = 1.5
_CAPACITY = 20_000
_CALL_SECONDS = 5.0

_ROWS: LiteralString = f"""
SELECT id, concept, CASE concept WHEN '{USER_CONCEPT}' THEN jsonb_build_object(
    'active', payload -> 'active', 'suspendedAt', payload -> 'suspendedAt', 'role', payload -> 'role',
    'revocationEpoch', payload -> 'revocationEpoch', 'primaryEmail', payload -> 'primaryEmail',
    'firstName', payload -> 'firstName', 'lastName', payload -> 'lastName', 'phone', payload -> 'phone'
) ELSE payload END
FROM memory_heads WHERE id = ANY(%s) AND NOT deleted
"""
# In the words of the index on credentials.keyHash.
_BY_HASH: LiteralString = f"""
SELECT id, payload ->> 'userId' FROM memory_heads
WHERE concept = '{IDENTITY_CONCEPT}' AND NOT deleted AND ((payload #>> '{{credentials,keyHash}}') COLLATE "C") = %s
"""
_CLAIMED: LiteralString = f"""
SELECT EXISTS (
    SELECT FROM memory_heads
    WHERE id = '{SETTINGS_ID}' AND NOT deleted AND payload ->> 'bootstrappedAt' <> ''
) OR EXISTS (
    SELECT FROM memory_heads
    WHERE concept = '{USER_CONCEPT}' AND NOT deleted
    AND payload ->> 'role' = 'owner' AND payload -> 'active' IS DISTINCT FROM 'false'::jsonb
)
"""


class CredentialStore:
    """Reads what is stored about credentials; safe to share between tasks.

    :param clock: seconds that only grow.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._rows: _Kept[Row | None] = _Kept(clock)
        self._hashes: _Kept[tuple[str, str] | None] = _Kept(clock)
        self._claimed: _Kept[bool] = _Kept(clock)

    async def standing(self, credential: Credential) -> Standing:
        """The verdict on a credential, at most :data:`CACHE_SECONDS` old.

        :raises MemqlError: when the database cannot be asked.
        """
        known: dict[str, Row | None] = {}
        for node_id in credential.row_ids:
            kept = self._rows.get(node_id)
            if kept is not None:
                known[node_id] = kept[0]
        missing = [node_id for node_id in credential.row_ids if node_id not in known]
        found = await self.refresh(missing) if missing else {}
        rows = {node_id: row for node_id, row in known.items() if row is not None} | dict(found)
        return judge(credential, rows, datetime.now(UTC))

    async def refresh(self, ids: Iterable[str]) -> Mapping[str, Row]:
        """The rows of some ids as they stand now, in one statement; those that are not there are left out.

        :raises MemqlError: when the database cannot be asked.
        """
        wanted = list(ids)
        stored = await self._database.fetch(_ROWS, (wanted,), timeout=_CALL_SECONDS)
        rows: dict[str, Row] = {}
        for node_id, concept, payload in stored:
            row = read_row(node_id, concept, payload)
            if row is not None:
                rows[node_id] = row
        for node_id in wanted:
            self._rows.keep(node_id, rows.get(node_id), _seconds_of(node_id))
        return rows

    async def find_pat(self, token: str) -> Credential | None:
        """The credential of a personal access token; None when none has its hash.

        :raises MemqlError: when the database cannot be asked.
        """
        digest = hash_of(token)
        kept = self._hashes.get(digest)
        if kept is None:
            row = await self._database.fetch_one(_BY_HASH, (digest,), timeout=_CALL_SECONDS)
            kept = (None if row is None else (row[0], row[1] or ""),)
            self._hashes.keep(digest, kept[0], CACHE_SECONDS)
        if kept[0] is None:
            return None
        credential_id, user_id = kept[0]
        # Without a user it belongs to nobody: an id that no row has.
        return Credential(
            kind=CredentialKind.PAT, credential_id=credential_id, user_id=user_id or f"{USER_CONCEPT}:none"
        )

    async def is_claimed(self) -> bool:
        """Whether the cluster has its owner.

        :raises MemqlError: when the database cannot be asked.
        """
        kept = self._claimed.get("")
        if kept is None:
            row = await self._database.fetch_one(_CLAIMED, timeout=_CALL_SECONDS)
            kept = (bool(row and row[0]),)
            self._claimed.keep("", kept[0], CACHE_SECONDS)
        return kept[0]


def _seconds_of(node_id: str) -> float:
    return ROLE_SECONDS if node_id.startswith(USER_CONCEPT + ":") else CACHE_SECONDS


class _Kept(Generic[T]):
    """Answers for a while, the oldest making room."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def get(self, name: str) -> tuple[T] | None:
        """The answer in a tuple; None when there is none, or none any more."""
        kept = self._answers.get(name)
        if kept is None or kept[0] <= self._clock():
            return None
        return (kept[1],)

    def keep(self, name: str, answer: T, seconds: float) -> None:
        """Keep an answer."""
        self._answers[name] = (self._clock() + seconds, answer)
        self._answers.move_to_end(name)
        if len(self._answers) > _CAPACITY:
            self._answers.popitem(last=False)
