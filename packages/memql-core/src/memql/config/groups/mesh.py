"""Settings of the mesh: who a node dials, how it shows itself, how events travel (spec "Environment")."""

from __future__ import annotations

from typing import Literal

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Flag, OptionalAddress, Seconds

__all__ = ["MeshSettings"]


class MeshSettings(Group):
    """NodeService, peers, delivery."""

    node_service_address: OptionalAddress = setting(
        "MEMQL_NODE_SERVICE_ADDRESS", default=None, doc="where NodeService listens; every interface at the role's port"
    )
    worker_peers: str = setting(
        "MEMQL_WORKER_PEERS", default="", doc="nodes to dial before the database names any, type=host:port,..."
    )
    parent_address: str = setting(
        "MEMQL_PARENT_ADDRESS", default="", doc="NodeService of the node to hang on; found in the database unless set"
    )
    node_token: str = setting("MEMQL_NODE_TOKEN", default="", doc="credential of this node in the mesh", secret=True)
    node_bootstrap_token: str = setting(
        "MEMQL_NODE_BOOTSTRAP_TOKEN",
        default="",
        doc="shared secret that the identity service gives a node credential for",
        secret=True,
    )
    mesh_routes: str = setting(
        "MEMQL_MESH_ROUTES",
        default="",
        doc="events that also leave a node, pattern=target,... (types joined by +, all or block); the same everywhere",
    )
    mesh_heartbeat: float = setting(
        "MEMQL_MESH_HEARTBEAT_SECONDS", default=5.0, doc="seconds between heartbeats to a peer", gt=0
    )
    mesh_degraded: float = setting(
        "MEMQL_MESH_DEGRADED_SECONDS", default=15.0, doc="seconds of silence after which a peer is degraded", gt=0
    )
    mesh_offline: float = setting(
        "MEMQL_MESH_OFFLINE_SECONDS", default=25.0, doc="seconds of silence after which a peer is gone", gt=0
    )
    mesh_ttl: int = setting("MEMQL_MESH_TTL", default=3, doc="how many nodes may hand an event on", ge=1, le=16)
    mesh_dedup_size: int = setting(
        "MEMQL_MESH_DEDUP_SIZE", default=8192, doc="event ids that are remembered to recognise repetitions", ge=1
    )
    mesh_outbox_capacity: int = setting(
        "MEMQL_MESH_OUTBOX_CAPACITY", default=1024, doc="messages that may wait for one peer, per lane", ge=1
    )
    mesh_outbox_retention: Seconds = setting(
        "MEMQL_MESH_OUTBOX_RETENTION",
        default="24h",
        doc="how long kept events and unused cursors stay; 0 keeps them for ever",
        ge=0,
    )
    mesh_spawner: Literal["", "local"] = setting(
        "MEMQL_MESH_SPAWNER", default="", doc="local: start further nodes as processes when peers ask; development only"
    )
    workbench_remote: Flag = setting(
        "MEMQL_WORKBENCH_REMOTE", default=False, doc="whether agents use the workbench nodes of the cluster"
    )
    node_reconcile_interval: float = setting(
        "MEMQL_NODE_RECONCILE_INTERVAL_SECONDS", default=3.0, doc="seconds between looks at the rows of nodes", gt=0
    )
    node_reconcile_grace: float = setting(
        "MEMQL_NODE_RECONCILE_GRACE_SECONDS",
        default=20.0,
        doc="seconds a node may be silent before it is retired",
        gt=0,
    )
    node_stale_prune_minutes: float = setting(
        "MEMQL_NODE_STALE_PRUNE_MINUTES",
        default=30.0,
        doc="minutes after which the row of a gone node is deleted",
        gt=0,
    )
