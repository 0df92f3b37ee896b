"""The border between psycopg and memQL: every database failure becomes one coded error, its cause kept."""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from memql.errors import Code, MemqlError

__all__ = ["UNREACHABLE", "constraint_of", "translate"]

UNREACHABLE = frozenset({Code.UNAVAILABLE, Code.TIMEOUT})
"""Codes that say the database could not be asked, rather than what it answered."""

_UNAVAILABLE_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006", "55000"})
_CONFLICT_STATES = frozenset({"40001", "40P01", "55P03"})
_MISSING_SCHEMA_STATES = frozenset({"42P01", "42703", "42883", "3F000"})
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "does not exist",
    "no such database",
    "no such user",
    "certificate verify failed",
    "does not support ssl",
    "channel binding",
)
"""What a server, a pooler or libpq says of a connection that will be refused tomorrow too. There is no SQLSTATE for it:
libpq keeps that to itself. In another language than English a refusal is taken for an outage."""


def translate(error: Exception) -> MemqlError:
    """The coded form of a psycopg or pool failure; the caller raises it ``from`` the original.

    ``UNAVAILABLE`` for a connection that is lost or cannot be made, ``CONFIG_INVALID`` for one that the server refuses
    to these credentials or to this database, ``CONFLICT`` (retryable) for serialization failures and
    deadlocks, ``CONFLICT`` (not retryable, ``details.constraint``) for a unique violation, ``TIMEOUT`` for a
    statement that the server stopped, ``INVALID_ARGUMENT`` for values PostgreSQL refuses,
    ``FAILED_PRECONDITION`` for a missing table, ``RESOURCE_EXHAUSTED`` for a full disk or memory, else
    ``INTERNAL``. ``details.sqlstate`` when there is one.
    """
    if isinstance(error, PoolTimeout):
        return MemqlError(Code.UNAVAILABLE, "no database connection became free in time; try again")
    if isinstance(error, PoolClosed):
        return MemqlError(Code.UNAVAILABLE, "the database is closed in this process")
    if isinstance(error, TooManyRequests):
        return MemqlError(Code.RESOURCE_EXHAUSTED, "too many calls wait for a database connection; try again")
    if not isinstance(error, psycopg.Error):
        return MemqlError(Code.INTERNAL, f"unexpected {type(error).__name__} in the database layer")
    return _from_state(error)


def constraint_of(error: MemqlError) -> str:
    """The constraint or index a unique violation named; empty for any other error."""
    return str(error.details.get("constraint", ""))


def _from_state(error: psycopg.Error) -> MemqlError:
    state = error.sqlstate or ""
    text = error.diag.message_primary or _first_line(error)
    details = {"sqlstate": state} if state else {}
    if state == "23505":
        details["constraint"] = error.diag.constraint_name or ""
        message = f"a row with the same key exists already ({details['constraint']})"
        return MemqlError(Code.CONFLICT, message, details=details, retryable=False)
    if state in _CONFLICT_STATES:
        return MemqlError(Code.CONFLICT, f"a concurrent change got in the way ({text}); try again", details=details)
    if state in {"57014", "25P03", "25P04"}:
        return MemqlError(Code.TIMEOUT, f"the database stopped the statement: {text}", details=details)
    if not state and _is_lost(error) and any(said in str(error).lower() for said in _REFUSALS):
        message = f"the database refuses the connection: {text}; correct the connection string or its password"
        return MemqlError(Code.CONFIG_INVALID, message)
    if state in _UNAVAILABLE_STATES or state.startswith("08") or (not state and _is_lost(error)):
        return MemqlError(Code.UNAVAILABLE, f"the database cannot be reached: {text}", details=details)
    if state in _MISSING_SCHEMA_STATES:
        message = f"the database lacks something the store needs ({text}); run `memql migrate`"
        return MemqlError(Code.FAILED_PRECONDITION, message, details=details)
    if state.startswith("53"):
        message = f"the database is out of resources: {text}"
        return MemqlError(Code.RESOURCE_EXHAUSTED, message, details=details)
    if state.startswith(("22", "54")) or state == "23514" or isinstance(error, psycopg.DataError):
        return MemqlError(Code.INVALID_ARGUMENT, f"the database refuses a value: {text}", details=details)
    return MemqlError(Code.INTERNAL, f"the database failed: {text}", details=details)


def _is_lost(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
