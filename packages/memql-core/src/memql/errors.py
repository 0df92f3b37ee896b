"""The one error family of memQL: every failure a user can meet is a :class:`MemqlError` with a stable code.

A code maps to exactly one gRPC status and one JSON shape (spec "Error codes" and "Replies, errors, cancel").
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Any, TypeVar

__all__ = ["Code", "MemqlError", "Status", "first_of", "internal_error"]


class Status(IntEnum):
    """gRPC status codes; the name is the CamelCase form that travels on the wire."""

    Ok = 0
    Canceled = 1
    Unknown = 2
    InvalidArgument = 3
    DeadlineExceeded = 4
    NotFound = 5
    AlreadyExists = 6
    PermissionDenied = 7
    ResourceExhausted = 8
    FailedPrecondition = 9
    Aborted = 10
    OutOfRange = 11
    Unimplemented = 12
    Internal = 13
    Unavailable = 14
    DataLoss = 15
    Unauthenticated = 16


class Code(str, Enum):
    """Stable error codes. Values never change; new ones are only added."""

    SYNTAX_ERROR = "SYNTAX_ERROR"
    UNKNOWN_CONCEPT = "UNKNOWN_CONCEPT"
    UNKNOWN_FUNCTION = "UNKNOWN_FUNCTION"
    INVALID_OPERATOR = "INVALID_OPERATOR"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    RELATIONSHIP_NOT_FOUND = "RELATIONSHIP_NOT_FOUND"
    NOT_FOUND = "NOT_FOUND"
    MISSING_REQUIRED_FIELDS = "MISSING_REQUIRED_FIELDS"
    INVALID_FIELD_TYPE = "INVALID_FIELD_TYPE"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    FORBIDDEN = "FORBIDDEN"
    CONFLICT = "CONFLICT"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    CONFIG_INVALID = "CONFIG_INVALID"
    TREE_REFUSED = "TREE_REFUSED"

    @property
    def status(self) -> Status:
        """The gRPC status this code travels as."""
        return _STATUS.get(self, Status.InvalidArgument)


_STATUS = {
    Code.NOT_FOUND: Status.NotFound,
    Code.FORBIDDEN: Status.PermissionDenied,
    Code.CONFLICT: Status.Aborted,
    Code.TIMEOUT: Status.DeadlineExceeded,
    Code.CANCELLED: Status.Canceled,
    Code.UNAVAILABLE: Status.Unavailable,
    Code.INTERNAL: Status.Internal,
    Code.ALREADY_EXISTS: Status.AlreadyExists,
    Code.RESOURCE_EXHAUSTED: Status.ResourceExhausted,
    Code.UNAUTHENTICATED: Status.Unauthenticated,
    Code.UNIMPLEMENTED: Status.Unimplemented,
    Code.FAILED_PRECONDITION: Status.FailedPrecondition,
    Code.OUT_OF_RANGE: Status.OutOfRange,
    Code.CONFIG_INVALID: Status.FailedPrecondition,
    Code.TREE_REFUSED: Status.FailedPrecondition,
}

_E = TypeVar("_E", bound=Exception)
_RETRYABLE = frozenset({Code.UNAVAILABLE, Code.CONFLICT, Code.RESOURCE_EXHAUSTED})


class MemqlError(Exception):
    """A failure with a stable code.

    :param code: one of :class:`Code`.
    :param message: what was wrong, where, and what to do; shown to users.
    :param details: machine-readable extras, for example ``{"violations": [...]}``.
    :param suggestion: a structured hint, for example ``{"didYouMean": "title"}``.
    :param position: zero-based character offset into the query text, for ``SYNTAX_ERROR``.
    :param context: the source around ``position``, or the name of what failed.
    :param retryable: whether the same call may succeed later; derived from the code unless given.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        suggestion: Mapping[str, Any] | None = None,
        position: int | None = None,
        context: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.suggestion: dict[str, Any] = dict(suggestion or {})
        self.position = position
        self.context = context
        self.retryable = code in _RETRYABLE if retryable is None else retryable
        self.error_id = ""

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.to_json(), self.retryable, self.error_id)

    @property
    def status(self) -> Status:
        """The gRPC status of the code."""
        return self.code.status

    def to_json(self) -> dict[str, Any]:
        """One element of a result's ``errors`` list; empty members are left out."""
        out: dict[str, Any] = {"code": self.code.value, "message": self.message}
        if self.details:
            out["details"] = self.details
        if self.suggestion:
            out["suggestion"] = self.suggestion
        if self.position is not None:
            out["position"] = self.position
        if self.context:
            out["context"] = self.context
        return out


def _rebuild(shape: dict[str, Any], retryable: bool, error_id: str) -> MemqlError:
    error = MemqlError(
        Code(shape["code"]),
        shape["message"],
        details=shape.get("details"),
        suggestion=shape.get("suggestion"),
        position=shape.get("position"),
        context=shape.get("context", ""),
        retryable=retryable,
    )
    error.error_id = error_id
    return error


def internal_error(cause: BaseException, error_id: str) -> MemqlError:
    """Wrap an unexpected failure: the user sees its kind and an id to quote, the log has the rest."""
    error = MemqlError(Code.INTERNAL, f"unexpected {type(cause).__name__}; quote {error_id} to your operator")
    error.error_id = error_id
    error.__cause__ = cause
    return error


def first_of(group: ExceptionGroup[_E]) -> _E:
    """The first failure in a group, however deep: for groups whose members all say the same."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error  # type: ignore[return-value]
