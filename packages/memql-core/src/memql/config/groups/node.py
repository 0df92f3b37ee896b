"""Settings of which node this is."""

from __future__ import annotations

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Labels

__all__ = ["NodeSettings"]


class NodeSettings(Group):
    """Identity of the node."""

    node_type: str | None = setting(
        "MEMQL_NODE_TYPE",
        default=None,
        doc="role to run where several are installed; the only installed role wins over it",
    )
    node_id: str | None = setting("MEMQL_NODE_ID", default=None, doc="identity of the node; the host name unless set")
    node_address: str | None = setting("MEMQL_NODE_ADDRESS", default=None, doc="address that other nodes are told")
    node_labels: Labels = setting("MEMQL_NODE_LABELS", default="", doc="labels of the node, k=v,k=v")
    node_flavor: str = setting("MEMQL_NODE_FLAVOR", default="", doc="sub-type of the role")
