"""A whole node that verifies its callers, an identity service for it, and callers of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
import grpc
import grpc.aio
from issuer_system import ISSUER, JwksServer, Rows, Signer, serving_jwks
from server_system import Wire

from memql.auth.surfaces import CredentialKind
from memql.config.loading import load_settings
from memql.node import Node, Role, open_node
from memql.server.grpc_service import SERVICE
from memql.wire.messages import ClientHello

OPERATOR = "operator-" + "o" * 40
PAT = "mql_pat_" + "p" * 43
_STATUSES = {401: "UNAUTHENTICATED", 403: "FORBIDDEN"}
_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "FORBIDDEN",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
}


@dataclass
class Callers:
    """Credentials of every kind, with the rows that make them count."""

    rows: Rows
    signer: Signer
    issuer: str = ISSUER
    ids: dict[str, str] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Write the rows."""
        rows = self.rows
        user = self.ids["user"] = await rows.user("ada", role="writer", lastName="Lovelace", phone="+4930123456")
        self.ids["session"] = await rows.session("s1", user)
        self.ids["pat"] = await rows.pat(PAT, user)
        self.ids["node"] = await rows.node("bff-0", "bff")
        self.ids["voice_agent"] = await rows.voice_agent("voice-1")
        self.ids["service_account"] = await rows.service_account("gate")

    def user(self, **claims: Any) -> str:
        """A token of the user."""
        return self.signer.token(iss=self.issuer, **{"sub": self.ids["user"], "sid": self.ids["session"], **claims})

    def machine(self, kind: str, **claims: Any) -> str:
        """A token of a machine."""
        row = self.ids[kind]
        said = {"class": kind, "sub": row, "cid": row, "sid": None, "node_id": "bff-0", "node_type": "bff"}
        return self.signer.token(iss=self.issuer, **{**said, **claims})

    def shown(self) -> Mapping[CredentialKind, str]:
        """What each kind shows in ``authorization``."""
        secret = "A" * 43
        return {
            CredentialKind.NONE: "",
            CredentialKind.USER: f"Bearer {self.user()}",
            CredentialKind.PAT: f"Bearer {PAT}",
            CredentialKind.WORKER: f"Worker mql_wkr_{secret}",
            CredentialKind.GUEST: f"Guest {secret}",
            CredentialKind.NODE: f"Bearer {self.machine('node')}",
            CredentialKind.VOICE_AGENT: f"Bearer {self.machine('voice_agent')}",
            CredentialKind.SERVICE_ACCOUNT: f"Bearer {self.machine('service_account', sub='system:gate')}",
            CredentialKind.OPERATOR: f"Operator {OPERATOR}",
            CredentialKind.PAIRING: "Pair ABCD-EFGH",
            CredentialKind.BOOTSTRAP: f"Bootstrap {secret}",
        }


@dataclass
class Trusted:
    """A node, and ways to call it."""

    node: Node
    callers: Callers
    jwks: JwksServer | None = None

    @property
    def http(self) -> str:
        return f"http://{self.node.server.http_address}"

    @asynccontextmanager
    async def connect(self, authorization: str) -> AsyncIterator[Wire]:
        """A gRPC stream."""
        metadata = (("authorization", authorization),) if authorization else ()
        async with grpc.aio.insecure_channel(str(self.node.server.grpc_address)) as channel:
            stream = channel.stream_stream(f"/{SERVICE}/Stream")(metadata=metadata)
            try:
                yield Wire(stream)
            finally:
                stream.cancel()

    async def over_grpc(self, authorization: str) -> str:
        """``ok`` or the code with which a stream is refused."""
        outcome = ""
        for _ in range(20):
            outcome = await self._hello(authorization)
            # A write that finds the call ended loses the reason of the server, in gRPC's client: ask again.
            if outcome != "INTERNAL":
                break
        return outcome

    async def _hello(self, authorization: str) -> str:
        async with self.connect(authorization) as wire:
            try:
                await wire.send(ClientHello())
                await wire.receive("server_hello")
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
                code = await self.ending(wire)
                return _CODES.get(code, str(code.name))
        return "ok"

    async def over_websocket(self, authorization: str) -> str:
        """The same for a socket."""
        headers = {"Authorization": authorization} if authorization else {}
        async with aiohttp.ClientSession() as http:
            try:
                async with http.ws_connect(f"{self.http}/memql/ws", headers=headers) as socket:
                    with anyio.fail_after(30):
                        await socket.receive()
            except aiohttp.WSServerHandshakeError as error:
                return _STATUSES.get(error.status, str(error.status))
        return "ok"

    async def over_http(self, authorization: str, query: str = "concepts()") -> str:
        """The same for a query over HTTP."""
        headers = {"Authorization": authorization} if authorization else {}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.http}/memql/query", json={"query": query}, headers=headers) as response,
        ):
            return "ok" if response.status == 200 else _STATUSES.get(response.status, str(response.status))

    async def ending(self, wire: Wire) -> grpc.StatusCode:
        """The status with which a stream ended."""
        with anyio.fail_after(30):
            code: grpc.StatusCode = await wire.stream.code()
        return code


def environment(dsn: str, home: Any, **more: str) -> dict[str, str]:
    """The variables of a node that verifies its callers."""
    return {
        "MEMQL_HOME": str(home),
        "MEMQL_DATABASE_DSN": dsn,
        "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
        "SERVER_ADDRESS": "127.0.0.1:0",
        "MEMQL_NODE_ID": "node-a",
        "MEMQL_OPERATOR_TOKEN": OPERATOR,
        **more,
    }


@asynccontextmanager
async def trusted_node(
    dsn: str, home: Any, more: Mapping[str, str] | None = None, *, roles: Sequence[Role] | None = ()
) -> AsyncIterator[Trusted]:
    """A node with an identity service that only publishes its key."""
    signer = Signer()
    async with serving_jwks(signer.public) as jwks:
        given = {
            "IDENTITY_VERIFIER_BASE_URL": jwks.base,
            "IDENTITY_VERIFIER_EXPECTED_ISSUER": ISSUER,
            "IDENTITY_VERIFIER_REVOCATION_CHECK_SECONDS": "0.3",
            **(more or {}),
        }
        async with open_node(load_settings(environment(dsn, home, **given)), roles=roles) as node:
            callers = Callers(Rows(node.engine.writer), signer)
            await callers.prepare()
            assert node.trust is not None
            with anyio.fail_after(30):
                while not node.trust.verifier.keys.ready:  # noqa: ASYNC110  fetched in the background
                    await anyio.sleep(0.01)
            yield Trusted(node, callers, jwks)
