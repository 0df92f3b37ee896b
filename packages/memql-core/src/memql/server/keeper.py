"""Holds an open stream to what its credential allows: expiry, revocation, role, frames (spec "Credentials, handshake,
rotation", "Frame lists")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from memql.auth import ROLE_RANK, Actor
from memql.auth.refusals import REFUSED_TEXT, Cause
from memql.auth.revocation import RevocationWatch
from memql.auth.standing import Standing, UserRow
from memql.auth.surfaces import AFTER_EXPIRY, allowed_frames
from memql.errors import Code, MemqlError
from memql.server.ports import Principal
from memql.server.session import Screen, Session

__all__ = ["GRACE_SECONDS", "Keeper"]

GRACE_SECONDS = 300.0
"""How long a stream whose credential has expired waits for another one."""

End = Callable[[Literal["revoked", "expired"], MemqlError], None]


class Keeper:
    """Keeps one stream; enter it for the life of the stream.

    :param end: ends the stream.
    :param watch: tells of revocations and roles; without it nothing can be revoked.
    """

    def __init__(self, session: Session, end: End, watch: RevocationWatch | None) -> None:
        self._session = session
        self._end = end
        self._watch = watch
        self._held = ExitStack()

    def __enter__(self) -> Keeper:
        self._hold(self._session.principal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def adopt(self, principal: Principal) -> None:
        """Go on as this principal: identity, access, frames and expiry change in one step; subscriptions stay as far as
        it may have them."""
        self._held.close()
        self._hold(principal)
        self._become(principal)

    def _hold(self, principal: Principal) -> None:
        """Watch the credential, its expiry and its frames from here on."""
        self._session.screen = _pinned(principal)
        if self._watch is not None and principal.credential is not None:
            self._held.enter_context(self._watch.watching(principal.credential, self._revoked, self._standing))
        if principal.expires_at is not None:
            left = (principal.expires_at - datetime.now(UTC)).total_seconds()
            self._later(max(left, 0.0), self._expired)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, then)
        self._held.callback(timer.cancel)

    def _expired(self) -> None:
        self._session.screen = _only_after_expiry
        gone = MemqlError(Code.UNAUTHENTICATED, "the credential expired and was not replaced in time")
        self._later(GRACE_SECONDS, lambda: self._end("expired", gone))

    def _revoked(self, cause: Cause) -> None:
        self._end("revoked", MemqlError(Code.UNAUTHENTICATED, REFUSED_TEXT))

    def _standing(self, standing: Standing) -> None:
        """Follow the row of the user: its role and address count as they stand."""
        principal, user = self._session.principal, standing.user
        if user is not None and user.id == principal.actor.user_id:
            current = _as(user, principal)
            if current != principal.actor:
                self._become(replace(principal, actor=current))

    def _become(self, principal: Principal) -> None:
        session, before = self._session, self._session.principal.actor
        session.principal = principal
        session.subscriptions.recheck()
        if _rank(principal.actor.role) < _rank(before.role):
            session.stop_all(Code.FORBIDDEN)


def _as(user: UserRow, principal: Principal) -> Actor:
    actor = principal.actor
    if (user.role, user.email) == (actor.role, actor.primary_email):
        return actor
    return replace(actor, role=user.role, is_cluster_owner=user.role == "owner", primary_email=user.email)


def _rank(role: str) -> int:
    return ROLE_RANK.get(role, -1)


def _pinned(principal: Principal) -> Screen | None:
    kind = principal.credential_class
    frames = allowed_frames(kind)
    if frames is None:
        return None

    def screen(name: str) -> MemqlError | None:
        if name in frames:
            return None
        what = name or "an empty payload"
        return MemqlError(Code.FORBIDDEN, f"a credential of class {kind.value} may not send {what}")

    return screen


def _only_after_expiry(name: str) -> MemqlError | None:
    if name in AFTER_EXPIRY:
        return None
    return MemqlError(Code.UNAUTHENTICATED, "the credential has expired; rotate it, or connect again")
