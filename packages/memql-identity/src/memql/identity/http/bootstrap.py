"""``POST /node/bootstrap``: a node gets its credential for a secret (spec "/node/bootstrap, ensure_bearer_token")."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
import msgspec
from aiohttp import web

from memql.auth import Actor, system
from memql.config import Settings
from memql.config.value_types import parse_role_secrets
from memql.engine.audit_trail import AuditEvent, record_attempt
from memql.engine.context import format_instant
from memql.engine.write import GraphWriter
from memql.errors import MemqlError
from memql.identity.http.answers import RefusedRequestError, json_answer
from memql.identity.http.callers import client_ip, is_secure
from memql.identity.issuing import BOOTSTRAPPED_LIFE, CredentialRevokedError, Issuing, NodeRequest
from memql.identity.minting import Minted

__all__ = ["BOOTSTRAP_PATH", "NodeBootstrap", "bootstrap_secrets"]

log = logging.getLogger(__name__)

BOOTSTRAP_PATH = "/node/bootstrap"
_ANY_ROLE = "*"
_VOICE_AGENT = "voice_agent"
_MINTED_BY = "system:node-bootstrap"
_BUDGET_SECONDS = 10.0
_MAX_BODY_BYTES = 16 * 1024
_NODE_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:-]{0,127}")


class _Body(msgspec.Struct, rename="camel"):
    node_id: str = ""
    node_type: str = ""
    token_class: str = ""
    instance_id: str = ""

    @property
    def role(self) -> str:
        """What the secret must be for."""
        return _VOICE_AGENT if self.token_class == _VOICE_AGENT else self.node_type

    @property
    def subject(self) -> str:
        """Whom the credential is for."""
        return self.instance_id if self.token_class == _VOICE_AGENT else self.node_id


def bootstrap_secrets(settings: Settings) -> Mapping[str, str]:
    """Secrets by the role that each mints for. One that mints for every role counts on development machines only."""
    secrets = parse_role_secrets(settings.identity_node_bootstrap_tokens)
    if settings.node_bootstrap_token and settings.explicit_development:
        secrets[_ANY_ROLE] = settings.node_bootstrap_token
    return secrets


@dataclass(frozen=True, slots=True)
class _Caller:
    address: str
    user_agent: str


class NodeBootstrap:
    """The handler of the route. Its checks run in a fixed order: transport, whether it is on, secret, body, row."""

    def __init__(self, settings: Settings, issuing: Issuing, writer: GraphWriter) -> None:
        self._settings = settings
        self._issuing = issuing
        self._writer = writer
        self._secrets = bootstrap_secrets(settings)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Mint a credential."""
        caller = _Caller(
            client_ip(request, self._settings.identity_trusted_proxies), request.headers.get("User-Agent", "")
        )
        self._check_transport(request, caller)
        if not self._secrets:
            raise _refused(503, "bootstrap_disabled", "no bootstrap secret is configured here")
        roles = self._roles_of(request.headers.get("Authorization", ""))
        if not roles:
            await self._audit_refusal(caller, "invalid_bootstrap_secret")
            raise _wrong_secret()
        body = await _read_body(request)
        if not roles & {body.role, _ANY_ROLE}:
            await self._audit_refusal(caller, "invalid_bootstrap_secret", body)
            raise _wrong_secret()
        return _answer(body, await self._mint(body, caller))

    def _check_transport(self, request: web.Request, caller: _Caller) -> None:
        if is_secure(request, self._settings.identity_trusted_proxies):
            return
        if self._settings.identity_allow_insecure_bootstrap and _is_loopback(caller.address):
            log.warning("a node of this machine asks for its credential without TLS; that is for development")
            return
        raise _refused(403, "insecure_transport", "credentials are minted over TLS only")

    def _roles_of(self, authorization: str) -> set[str]:
        """The roles that the shown secret mints for; every secret is compared, so that time tells nothing."""
        scheme, _, shown = authorization.partition(" ")
        given = shown.strip().encode() if scheme.lower() == "bootstrap" else b""
        return {role for role, secret in self._secrets.items() if hmac.compare_digest(secret.encode(), given)}

    async def _mint(self, body: _Body, caller: _Caller) -> Minted:
        try:
            with anyio.fail_after(_BUDGET_SECONDS):
                return await self._minted(body, caller)
        except CredentialRevokedError as error:
            await self._audit_refusal(caller, "credential_revoked", body)
            raise _refused(403, "credential_revoked", error.message) from error
        except (MemqlError, TimeoutError) as error:
            log.error("no credential could be minted for %s %s", body.role, body.subject, exc_info=error)
            await self._audit_refusal(caller, "mint_failed", body)
            raise _refused(500, "mint_failed", "the credential could not be stored; try again") from error

    async def _minted(self, body: _Body, caller: _Caller) -> Minted:
        by = system(_MINTED_BY)
        if body.token_class == _VOICE_AGENT:
            return await self._issuing.mint_voice_agent(
                body.instance_id, BOOTSTRAPPED_LIFE, by=by, minted_by=_MINTED_BY, address=caller.address
            )
        request = NodeRequest(
            node_id=body.node_id,
            node_type=body.node_type,
            minted_by=_MINTED_BY,
            address=caller.address,
            life=BOOTSTRAPPED_LIFE,
        )
        return await self._issuing.mint_node(request, by=by)

    async def _audit_refusal(self, caller: _Caller, reason: str, body: _Body | None = None) -> None:
        asked = {} if body is None else {"role": body.role, "subject": body.subject}
        action = "voice_agent_token_minted" if body is not None and body.role == _VOICE_AGENT else "node_token_minted"
        event = AuditEvent(
            category="identity",
            action=action,
            actor=Actor(principal="guest:node-bootstrap"),
            target_type="identity",
            detail=asked,
            source_ip=caller.address,
            user_agent=caller.user_agent,
            outcome="failure" if reason == "mint_failed" else "blocked",
            failure_reason=reason,
        )
        await record_attempt(self._writer, event)


async def _read_body(request: web.Request) -> _Body:
    try:
        data = await request.read()
        if len(data) > _MAX_BODY_BYTES:
            raise _bad(f"the body is longer than {_MAX_BODY_BYTES} bytes")
        body = msgspec.json.decode(data, type=_Body)
    except msgspec.MsgspecError as error:
        raise _bad(f"the body is no request: {error}") from error
    if body.token_class not in ("", "node", _VOICE_AGENT):
        raise _bad("tokenClass is node, voice_agent or absent")
    if body.token_class == _VOICE_AGENT:
        if not _NODE_ID.fullmatch(body.instance_id):
            raise _bad("instanceId is missing or has characters that an id cannot have")
    elif not _NODE_ID.fullmatch(body.node_id):
        raise _bad("nodeId is missing or has characters that an id cannot have")
    elif not _NODE_TYPE.fullmatch(body.node_type) or body.node_type == "identity":
        raise _bad("nodeType is missing, or no role that joins the mesh")
    return body


def _answer(body: _Body, minted: Minted) -> web.Response:
    return json_answer(
        {
            "success": True,
            "plainToken": minted.token,
            "identityId": minted.id,
            "nodeType": body.node_type,
            "nodeId": body.subject,
            "expiresAt": format_instant(minted.expires_at),
        }
    )


def _refused(status: int, error: str, message: str) -> RefusedRequestError:
    return RefusedRequestError(status, error, message, success=False, errorCode=error)


def _wrong_secret() -> RefusedRequestError:
    return _refused(401, "invalid_bootstrap_secret", "the bootstrap secret is not valid for this request")


def _bad(message: str) -> RefusedRequestError:
    return _refused(400, "bad_request", message)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
