"""An identity node, members of its mesh, and what strangers try."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from identity_system import BASE, SHARED_SECRET, Identity, identity_node, seed_text
from issuer_system import Signer
from mesh_nodes import Member, member
from trusted_system import Callers

from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER, METHOD, decode, encode
from memql.mesh.wire.messages import NodeHello
from memql.wire.frames import Frame

M = TypeVar("M")


@dataclass
class TrustedMesh:
    """An identity node whose signing key is known here too, so that any token can be made."""

    identity: Identity
    callers: Callers
    dsn: str
    home: Path

    @property
    def signer(self) -> Signer:
        return self.callers.signer

    def settings(self) -> Mapping[str, str]:
        """The variables by which a node belongs to this mesh."""
        return {
            "IDENTITY_VERIFIER_BASE_URL": self.identity.http,
            "IDENTITY_VERIFIER_EXPECTED_ISSUER": BASE,
            "IDENTITY_VERIFIER_REVOCATION_CHECK_SECONDS": "0.3",
            "MEMQL_NODE_BOOTSTRAP_TOKEN": SHARED_SECRET,
        }

    def member(self, node_type: str, node_id: str, **more: str) -> AbstractAsyncContextManager[Member]:
        """A running member; ``more`` are further variables."""
        return member(self.dsn, node_type, node_id, self.home, settings={**self.settings(), **more})

    async def node_token(self, node_id: str, node_type: str, **claims: Any) -> str:
        """A node's token, and a new row for it."""
        row = await self.identity.rows.node(node_id, node_type)
        said = {"class": "node", "sub": row, "cid": row, "sid": None, "node_id": node_id, "node_type": node_type}
        return self.signer.token(iss=BASE, **{**said, **claims})

    async def refusals(self) -> list[dict[str, Any]]:
        """What the audit trail has about nodes that were not let in."""
        return await self.identity.trail("node_stream_refused")

    async def refused_for(self, reason: str, seconds: float = 15) -> dict[str, Any]:
        """The audit event of a refusal, once it is written."""
        with anyio.fail_after(seconds):
            while True:
                for event in await self.refusals():
                    if event["failureReason"] == reason:
                        return event
                await anyio.sleep(0.05)


@asynccontextmanager
async def trusted_mesh(dsn: str, home: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[TrustedMesh]:
    """An identity node, and callers of every kind that it knows."""
    seed = secrets.token_bytes(32)
    async with identity_node(dsn, home, {"IDENTITY_SIGNING_KEY_B64": seed_text(seed), **(more or {})}) as identity:
        signer = Signer(Ed25519PrivateKey.from_private_bytes(seed))
        callers = Callers(identity.rows, signer, issuer=BASE)
        await callers.prepare()
        yield TrustedMesh(identity, callers, dsn, home)


@dataclass
class Caller:
    """Somebody's stream to a node's NodeService."""

    call: Any

    async def say(self, message: Any, metadata: Mapping[str, str] | None = None) -> None:
        """Send an envelope."""
        await self.call.write(encode(FROM_DIALER, "1", message, metadata=metadata))

    async def hear(self, seconds: float = 10) -> Frame | None:
        """The next envelope; None at the end of the stream."""
        with anyio.fail_after(seconds):
            data = await self.call.read()
        return None if data is grpc.aio.EOF else decode(data, FROM_ACCEPTOR)

    async def wait_for(self, kind: type[M], seconds: float = 10) -> M:
        """The next message of a kind; others are passed over."""
        while True:
            frame = await self.hear(seconds)
            assert frame is not None, f"the stream ended before a {kind.__name__}"
            message = frame.message()
            if isinstance(message, kind):
                return message

    async def outcome(self, first: NodeHello) -> str | grpc.StatusCode:
        """What answers a hello: the name of the first envelope, or the status with which the stream ends."""
        try:
            await self.say(first)
            frame = await self.hear()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            frame = None
        return await self.status() if frame is None else frame.name

    async def status(self, seconds: float = 10) -> grpc.StatusCode:
        """The status with which the stream ends, whatever comes before."""
        with anyio.fail_after(seconds):
            # gRPC tells the status once everything before it has been read.
            with suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            code: grpc.StatusCode = await self.call.code()
        return code


@asynccontextmanager
async def calling(
    address: str, authorization: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Caller]:
    """A stream that shows something."""
    metadata = (("authorization", authorization),) if authorization else ()
    channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    async with channel:
        call = channel.stream_stream(METHOD)(metadata=metadata)
        try:
            yield Caller(call)
        finally:
            call.cancel()


def hello(node_id: str = "bff-0", node_type: str = "bff") -> NodeHello:
    """What a node says first."""
    return NodeHello(node_id=node_id, node_type=node_type, version="0")
