"""Who may call a construct: marks on the construct against the actor (spec "Annotations", "Four classes").

Rows are another matter: classes and ``@rowAuthz`` are compiled into every read and checked by every write.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from memql.auth import ROLE_RANK, Actor
from memql.engine.context import RequestContext
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Annotations, Builtin, Construct, Logic, Mutation, Query, RateLimit

__all__ = ["RateLimiter", "authorize_call", "may_call", "require_account", "require_raw", "require_raw_read"]

Callable_ = Query | Mutation | Logic | Builtin


def authorize_call(target: Callable_, ctx: RequestContext) -> None:
    """Check the construct's marks; marks about clients apply only to calls that no construct makes.

    :raises MemqlError: ``FORBIDDEN``, naming what is missing.
    """
    reason = _refusal(target, ctx.actor, by_client=not ctx.inner)
    if reason:
        raise MemqlError(Code.FORBIDDEN, f"{target.name} {reason}", details={"function": target.name})


def may_call(target: Callable_, actor: Actor) -> bool:
    """Whether a client with this actor may call the construct at all."""
    return not _refusal(target, actor, by_client=True)


def _refusal(target: Callable_, actor: Actor, *, by_client: bool) -> str:
    marks = target.annotations
    if by_client:
        if marks.internal:
            return "is internal: only other constructs may call it"
        if actor.role == "guest" and not _is_public(target):
            return "is not public; guests reach only public constructs"
        if actor.is_read_only and not isinstance(target, Query):
            return "is no query; a service account may only read"
        if isinstance(target, Logic | Builtin) and not (marks.public or marks.roles or marks.permissions):
            return "answers clients only when it is marked @public, @role or @permission"
    return role_refusal(marks, actor)


def role_refusal(marks: Annotations, actor: Actor) -> str:
    """Why ``@role`` or ``@permission`` refuse this actor; empty when they do not."""
    if marks.roles and not actor.has_role(min(marks.roles, key=lambda role: ROLE_RANK.get(role, 99))):
        return f"needs role {' or '.join(marks.roles)} (or above); yours is {actor.role!r}"
    missing = [scope for scope in marks.permissions if not actor.has_permission(scope)]
    if missing:
        return f"needs the permission {', '.join(missing)}"
    return ""


def _is_public(target: Construct) -> bool:
    return target.annotations.public or getattr(target, "access", "") == "public"


def require_raw(ctx: RequestContext, what: str) -> None:
    """Raw filters and writes are for administrators and the system.

    :raises MemqlError: ``FORBIDDEN``.
    """
    if not ctx.actor.has_role("admin"):
        raise MemqlError(
            Code.FORBIDDEN,
            f"{what} needs role admin or above; yours is {ctx.actor.role!r}. Call a named query or mutation instead",
        )


def require_raw_read(ctx: RequestContext, read: ast.Read) -> None:
    """The same for reads; a service account may count, which tells that the node works and little else.

    :raises MemqlError: ``FORBIDDEN``.
    """
    if not (ctx.actor.is_read_only and isinstance(read, ast.DirectiveRead) and read.directive == "count"):
        require_raw(ctx, "a raw read")


def require_account(ctx: RequestContext) -> None:
    """What the tree says about itself is for those who have an account.

    :raises MemqlError: ``FORBIDDEN``.
    """
    if ctx.actor.role == "guest":
        raise MemqlError(Code.FORBIDDEN, "guests reach only public constructs; sign in to look around")


class RateLimiter:
    """``@rateLimit`` per construct and caller: a sliding window, in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_callers: int = 10_000) -> None:
        self._clock = clock
        self._max_callers = max_callers
        self._calls: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def check(self, name: str, limit: RateLimit, actor: Actor) -> None:
        """Count one call.

        :raises MemqlError: ``RESOURCE_EXHAUSTED`` with ``details.retryAfterSeconds`` when the window is full.
        """
        now = self._clock()
        key = (name, actor.created_by)
        calls = self._calls.setdefault(key, deque())
        self._calls.move_to_end(key)
        while calls and calls[0] <= now - limit.per:
            calls.popleft()
        if len(calls) >= limit.requests:
            wait = round(calls[0] + limit.per - now, 3)
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"{name} allows {limit.requests} calls per {limit.per:g} s and caller; try again in {wait:g} s",
                details={"retryAfterSeconds": wait},
            )
        calls.append(now)
        while len(self._calls) > self._max_callers:
            self._calls.popitem(last=False)
