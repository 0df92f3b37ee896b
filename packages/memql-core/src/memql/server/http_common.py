"""What HTTP handlers share: credentials, JSON answers, statuses."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from memql.auth.surfaces import Surface
from memql.errors import Code, MemqlError, Status
from memql.server.ports import Authenticator, Credentials, Principal

__all__ = ["Route", "authenticate", "error_response", "json_response"]

Route: TypeAlias = web.RouteDef
"""An HTTP route, as roles add them."""

_STATUS = {
    Status.InvalidArgument: 400,
    Status.OutOfRange: 400,
    Status.Unauthenticated: 401,
    Status.PermissionDenied: 403,
    Status.NotFound: 404,
    Status.AlreadyExists: 409,
    Status.Aborted: 409,
    Status.ResourceExhausted: 429,
    Status.Unimplemented: 501,
    Status.FailedPrecondition: 503,
    Status.Unavailable: 503,
    Status.DeadlineExceeded: 504,
}


def json_response(body: Any, status: int = 200) -> web.Response:
    """``body`` as JSON; bytes are JSON already."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return web.Response(body=data, status=status, content_type="application/json")


def error_response(error: MemqlError, status: int | None = None) -> web.Response:
    """``{"error", "code"}`` under the status that the error's code stands for."""
    body = {"error": error.message, "code": error.code.value}
    if error.error_id:
        body["errorId"] = error.error_id
    return json_response(body, status or _STATUS.get(error.status, 500))


async def authenticate(
    request: web.Request, authenticator: Authenticator, surface: Surface, authorization: str = ""
) -> Principal:
    """Who makes an HTTP request.

    :param authorization: a credential found elsewhere than in the ``Authorization`` header.
    :raises MemqlError: as :meth:`memql.server.ports.Authenticator.authenticate`.
    """
    shown = request.headers.get("Authorization") or authorization
    return await authenticator.authenticate(
        Credentials(authorization=shown, peer=request.remote or "", surface=surface)
    )


def too_large(limit: int) -> web.Response:
    """The answer to a body that is longer than allowed."""
    error = MemqlError(Code.INVALID_ARGUMENT, f"the body is longer than {limit} bytes")
    return error_response(error, 413)
