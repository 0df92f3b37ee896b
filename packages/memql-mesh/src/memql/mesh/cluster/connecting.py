"""Whether the nodes of a cluster reach those that they forward requests to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import anyio

from memql.mesh.cluster.probing import Prober
from memql.mesh.cluster.state import NodeState
from memql.mesh.discovery.topology import dials

__all__ = ["wait_connected"]

_LOOK_SECONDS: Final = 0.25


async def wait_connected(prober: Prober, nodes: Sequence[NodeState]) -> None:
    """Return once each of these nodes has a stream of its own to every other one that it forwards to."""
    for node in nodes:
        for kind, count in _dialed_by(node, nodes).items():
            while await prober.dialed(node, kind) < count:  # noqa: ASYNC110  another process
                await anyio.sleep(_LOOK_SECONDS)


def _dialed_by(node: NodeState, nodes: Iterable[NodeState]) -> Counter[str]:
    """How many nodes of each type a node keeps a stream of its own to."""
    return Counter(one.role for one in nodes if dials(node.role, node.id, one.role, one.id))
