"""The trust of a node, from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio
import grpc

from memql.auth.bootstrap import bootstrap_node_token
from memql.engine.audit_trail import record_attempt
from memql.errors import Code, MemqlError
from memql.mesh.links.gate import Gate, OpenGate
from memql.mesh.trust.credential import FixedCredential, MintedCredential, NoCredential
from memql.mesh.trust.gate import TokenGate
from memql.mesh.trust.trail import Trail
from memql.server.tls import channel_credentials, node_service_credentials

if TYPE_CHECKING:
    from memql.config import Settings
    from memql.node.node import Node
    from memql.server.ports import NodeIdentity

__all__ = ["Trust", "open_trust"]

NodeCredential: TypeAlias = NoCredential | FixedCredential | MintedCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who may come in, what this node shows, and how its listener is secured (None for plaintext)."""

    gate: Gate
    credential: NodeCredential
    server_credentials: grpc.ServerCredentials | None


@asynccontextmanager
async def open_trust(node: Node) -> AsyncIterator[Trust]:
    """The trust of a node, while the block runs: node tokens where callers are verified, else none.

    :raises MemqlError: ``CONFIG_INVALID`` when callers are verified and this node has neither a credential nor a way
        to get one, or when a file of certificates cannot be used.
    """
    settings = node.settings
    server, channel = node_service_credentials(settings), channel_credentials(settings)
    if node.trust is None:
        yield Trust(gate=OpenGate(), credential=NoCredential(channel), server_credentials=server)
        return
    async with anyio.create_task_group() as tasks:
        trail = Trail(partial(record_attempt, node.engine.writer))
        credential = _credential(settings, node.identity, channel)
        tasks.start_soon(trail.run, name="mesh: refusals")
        tasks.start_soon(credential.run, name="mesh: credential")
        yield Trust(
            gate=TokenGate(node.trust.verifier, node.trust.credentials, node.trust.watch, trail),
            credential=credential,
            server_credentials=server,
        )
        tasks.cancel_scope.cancel()


def _credential(settings: Settings, identity: NodeIdentity, channel: grpc.ChannelCredentials | None) -> NodeCredential:
    if settings.node_token:
        return FixedCredential(settings.node_token, channel)
    if not settings.node_bootstrap_token:
        raise MemqlError(
            Code.CONFIG_INVALID,
            "this node joins a mesh whose nodes are verified and has no credential: set MEMQL_NODE_TOKEN, or "
            "MEMQL_NODE_BOOTSTRAP_TOKEN to have the identity service mint one",
        )
    return MintedCredential(partial(bootstrap_node_token, settings, identity.id, identity.type), channel)
