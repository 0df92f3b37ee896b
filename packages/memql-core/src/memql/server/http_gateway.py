"""``POST /memql/query``: one query over plain HTTP (spec "Other endpoints")."""

from __future__ import annotations

import msgspec
from aiohttp import web

from memql.auth.surfaces import Surface
from memql.errors import Code, MemqlError
from memql.server.handlers.queries import check_query
from memql.server.http_common import authenticate, error_response, json_response, too_large
from memql.server.json_codec import decode_query, parse_object
from memql.server.origins import OriginPolicy
from memql.server.ports import Authenticator, Services
from memql.server.replies import coded, query_error
from memql.wire.frames import QueryRequest
from memql.wire.protojson import ProtoJsonError

__all__ = ["QueryGateway"]

MAX_BODY_BYTES = 5 * 1024 * 1024
QUERY_SECONDS = 30.0


class QueryGateway:
    """The handler of the endpoint."""

    def __init__(self, services: Services, authenticator: Authenticator, origins: OriginPolicy) -> None:
        self._services = services
        self._authenticator = authenticator
        self._origins = origins

    async def handle(self, request: web.Request) -> web.Response:
        """Run the query of the body. A query that fails is a 200 with ``errors``; anything else has its status."""
        try:
            if not self._origins.allows(request.headers.get("Origin"), request.host):
                raise MemqlError(Code.FORBIDDEN, "pages of this origin may not call; see SERVER_ALLOWED_ORIGINS")
            principal = await authenticate(request, self._authenticator, Surface.WEB)
            query = decode_query(parse_object(await request.read()))
        except web.HTTPRequestEntityTooLarge:
            return too_large(MAX_BODY_BYTES)
        except ProtoJsonError as error:
            return error_response(MemqlError(Code.INVALID_ARGUMENT, f"the body is no query: {error}"))
        except MemqlError as error:
            return error_response(error)
        try:
            check_query(query.query)
            result = await self._services.engine.execute(
                query.query,
                actor=principal.actor,
                variables=query.variables,
                client_id=query.client_id,
                cursor=query.cursor,
                timeout=QUERY_SECONDS,
            )
        except Exception as error:
            return _failed(coded(error), query)
        if not result.meta.server_id:
            result.meta.server_id = self._services.identity.id
        return json_response(b'{"result":' + result.to_json() + b"}")


def _failed(error: MemqlError, query: QueryRequest) -> web.Response:
    if error.code in {Code.UNAVAILABLE, Code.FAILED_PRECONDITION, Code.TIMEOUT, Code.INTERNAL}:
        return error_response(error)
    detail = query_error("", error, query.query).error
    assert detail is not None
    errors = [{"code": detail.code, "message": detail.message, "metadata": detail.metadata}]
    return json_response(msgspec.json.encode({"result": {}, "errors": errors}))
