"""Which node this is."""

from __future__ import annotations

import os
import socket
import uuid

from memql.config import Settings
from memql.server.ports import NodeIdentity

__all__ = ["identify"]


def identify(settings: Settings, node_type: str, service_port: int | None = None) -> NodeIdentity:
    """The node's identity from its settings: the host's name where none is given.

    :param service_port: where other nodes reach it; that of MemqlService when it has no NodeService.
    """
    host = socket.gethostname()
    port = service_port or settings.grpc_address.port
    return NodeIdentity(
        id=settings.node_id or host or f"node-{uuid.uuid4().hex[:12]}",
        type=node_type,
        flavor=settings.node_flavor,
        address=settings.node_address or f"{os.environ.get('POD_IP') or host or 'localhost'}:{port}",
        labels=dict(settings.node_labels),
    )
