"""What can go wrong with a model call: one table of ids (spec "Errors").

Every such error is a :class:`MemqlError` whose ``details["si"]`` is one of the ids below; the table gives its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from memql.errors import Code, MemqlError

__all__ = ["SI_CODES", "falls_over", "si_error", "si_id"]

SI_CODES: Final[Mapping[str, Code]] = {
    "si.no_provider": Code.FAILED_PRECONDITION,
    "si.auth_missing": Code.FAILED_PRECONDITION,
    "si.auth_rejected": Code.FAILED_PRECONDITION,
    "si.rate_limited": Code.UNAVAILABLE,
    "si.overloaded": Code.UNAVAILABLE,
    "si.upstream": Code.UNAVAILABLE,
    "si.timeout": Code.TIMEOUT,
    "si.stalled": Code.TIMEOUT,
    "si.budget_exceeded": Code.RESOURCE_EXHAUSTED,
    "si.kill_switch": Code.RESOURCE_EXHAUSTED,
    "si.scope_latched": Code.RESOURCE_EXHAUSTED,
    "si.rate_ceiling": Code.RESOURCE_EXHAUSTED,
    "si.loop_blocked": Code.RESOURCE_EXHAUSTED,
    "si.invalid_request": Code.INVALID_ARGUMENT,
    "si.context_overflow": Code.INVALID_ARGUMENT,
    "si.output_invalid": Code.INTERNAL,
    "si.output_truncated": Code.OUT_OF_RANGE,
    "si.content_refused": Code.FORBIDDEN,
    "si.not_implemented": Code.UNIMPLEMENTED,
    "si.cancelled": Code.CANCELLED,
}
"""The code of every id."""

_TERMINAL: Final = frozenset({"si.budget_exceeded", "si.kill_switch", "si.scope_latched"})
"""Trying again does not help until somebody has acted."""

_FALLS_OVER: Final = frozenset(
    {
        "si.no_provider", "si.auth_missing", "si.auth_rejected", "si.rate_limited", "si.overloaded", "si.upstream",
        "si.timeout", "si.stalled", "si.not_implemented",
    }
)  # fmt: skip
"""The next provider of a chain may do better."""


def si_error(si: str, message: str, *, details: Mapping[str, Any] | None = None) -> MemqlError:
    """An error of a model call.

    :param si: an id of :data:`SI_CODES`.
    """
    retryable = False if si in _TERMINAL else None
    return MemqlError(SI_CODES[si], message, details={"si": si, **(details or {})}, retryable=retryable)


def si_id(error: MemqlError) -> str:
    """The id of a failed model call; empty for any other error."""
    found = error.details.get("si", "")
    return found if isinstance(found, str) else ""


def falls_over(error: MemqlError) -> bool:
    """Whether the next provider of the chain is tried after this failure: one that lies with the provider, never with
    the request, a budget, a guard or the caller."""
    return si_id(error) in _FALLS_OVER or (not si_id(error) and error.code in (Code.UNAVAILABLE, Code.TIMEOUT))
