"""Asking the identity service for the credential of this node (spec "/node/bootstrap, ensure_bearer_token")."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import aiohttp
import anyio.to_thread
import msgspec

from memql.config import Settings
from memql.config.tls import http_client_context
from memql.errors import Code, MemqlError

__all__ = ["ATTEMPT_SECONDS", "NodeToken", "bootstrap_node_token"]

ATTEMPT_SECONDS = 30.0
_CODES = {
    "insecure_transport": Code.FORBIDDEN,
    "credential_revoked": Code.FORBIDDEN,
    "bootstrap_disabled": Code.FAILED_PRECONDITION,
    "invalid_bootstrap_secret": Code.UNAUTHENTICATED,
    "bad_request": Code.INVALID_ARGUMENT,
}
"""What an answer means to the node; anything else is UNAVAILABLE and worth another attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeToken:
    """A node's credential and until when it counts."""

    token: str = field(repr=False)
    expires_at: datetime


class _Answer(msgspec.Struct, rename="camel"):
    success: bool = False
    plain_token: str = ""
    expires_at: datetime | None = None
    error: str = ""
    message: str = ""


async def bootstrap_node_token(settings: Settings, node_id: str, node_type: str) -> NodeToken:
    """Have the identity service mint a credential: one attempt of at most 30 s; when to repeat it and when to renew
    are the caller's.

    :raises MemqlError: ``CONFIG_INVALID`` without ``IDENTITY_VERIFIER_BASE_URL`` or ``MEMQL_NODE_BOOTSTRAP_TOKEN``;
        ``UNAUTHENTICATED`` for a secret that is not accepted, ``FORBIDDEN`` for a revoked node or without TLS,
        ``FAILED_PRECONDITION`` where the service mints nothing this way, ``UNAVAILABLE`` (retryable) for the rest.
    """
    base, secret = settings.identity_verifier_base_url, settings.node_bootstrap_token
    if not (base and secret):
        raise MemqlError(
            Code.CONFIG_INVALID,
            "this node has no credential and cannot get one: set MEMQL_NODE_TOKEN, or MEMQL_NODE_BOOTSTRAP_TOKEN and "
            "IDENTITY_VERIFIER_BASE_URL",
        )
    tls = await anyio.to_thread.run_sync(http_client_context, settings)
    url = f"{base}/node/bootstrap"
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            body = {"nodeId": node_id, "nodeType": node_type, "tokenClass": "node"}
            headers = {"Authorization": f"Bootstrap {secret}"}
            async with http.post(url, json=body, headers=headers, ssl=tls, allow_redirects=False) as response:
                return _read(await response.read(), response.status, url)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {ATTEMPT_SECONDS:g} s"
        raise MemqlError(Code.UNAVAILABLE, f"{url} cannot be asked for a credential: {reason}") from error


def _read(body: bytes, status: int, url: str) -> NodeToken:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError as error:
        raise MemqlError(Code.UNAVAILABLE, f"{url} answered {status} with something else than JSON") from error
    if status == 200 and answer.success and answer.plain_token and answer.expires_at is not None:
        return NodeToken(token=answer.plain_token, expires_at=answer.expires_at)
    code = _CODES.get(answer.error, Code.UNAVAILABLE)
    raise MemqlError(
        code,
        f"{url} gives no credential: {answer.error or status} {answer.message}".rstrip(),
        details={"status": status},
    )
