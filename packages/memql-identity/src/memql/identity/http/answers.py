"""What every route of the identity service answers with, and how it fails (spec "HTTP catalogue")."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from memql.errors import Code, MemqlError, Status
from memql.server.replies import coded, new_error_id

__all__ = ["Handler", "RefusedRequestError", "json_answer", "shaped"]

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS: Mapping[Status, tuple[int, str]] = {
    Status.InvalidArgument: (400, "bad_request"),
    Status.Unauthenticated: (401, "unauthenticated"),
    Status.PermissionDenied: (403, "forbidden"),
    Status.NotFound: (404, "not_found"),
    Status.AlreadyExists: (409, "conflict"),
    Status.Aborted: (409, "conflict"),
    Status.ResourceExhausted: (429, "rate_limited"),
    Status.FailedPrecondition: (503, "unavailable"),
    Status.Unavailable: (503, "unavailable"),
    Status.DeadlineExceeded: (504, "timeout"),
}


class RefusedRequestError(Exception):
    """A request that is answered with an error.

    :param error: the code that programs read, such as ``invalid_bootstrap_secret``.
    :param more: further members of the answer.
    """

    def __init__(self, status: int, error: str, message: str, **more: Any) -> None:
        super().__init__(status, error, message)
        self.status = status
        self.error = error
        self.message = message
        self.more = more


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer; nobody keeps it unless ``headers`` say so."""
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json", headers=kept)


def shaped(handler: Handler) -> Handler:
    """A handler whose failures are ``{"error", "message", "errorId"}``; the id is in the log too."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedRequestError as error:
            return _failed(request, error)
        except web.HTTPException:
            raise
        except Exception as error:
            return _failed(request, _refused(coded(error)))

    return answered


def _refused(error: MemqlError) -> RefusedRequestError:
    status, name = _STATUS.get(error.status, (500, "internal"))
    message = error.message if error.code is not Code.INTERNAL else "the request failed; quote the error id"
    return RefusedRequestError(status, name, message, errorId=error.error_id or new_error_id())


def _failed(request: web.Request, error: RefusedRequestError) -> web.Response:
    body = {"error": error.error, "message": error.message, "errorId": new_error_id(), **error.more}
    log.info("%s %s: %d %s (%s)", request.method, request.path, error.status, error.error, body["errorId"])
    return json_answer(body, error.status)
