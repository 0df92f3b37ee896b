"""Results as protobuf values, for clients that did not announce ``json-rows``. The only place where the
server decodes rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from memql.engine.result import Meta, decode
from memql.engine.result import Result as EngineResult
from memql.wire.messages import GraphBundle, GraphEdge, MemoryNode, Provenance, Result, ResultMeta, Struct
from memql.wire.structs import to_struct, to_value

__all__ = ["to_message"]


def to_message(result: EngineResult) -> Result:
    """The generated ``Result``; empty parts stay unset."""
    bundle = None
    if result.nodes or result.edges:
        bundle = GraphBundle(
            nodes=[_node(node) for node in result.decoded_nodes()],
            edges=[_edge(edge) for edge in map(decode, result.edges)],
            root_ids=result.root_ids,
        )
    return Result(bundle=bundle, data=[to_value(value) for value in result.decoded_data()], meta=_meta(result.meta))


def _meta(meta: Meta) -> ResultMeta:
    return ResultMeta(
        count=meta.count,
        has_more=meta.has_more,
        cursor=meta.cursor,
        took_ms=meta.took,
        client_id=meta.client_id,
        server_id=meta.server_id,
        version=meta.version,
    )


def _node(node: Mapping[str, Any]) -> MemoryNode:
    created = node.get("createdAt")
    provenance = node.get("provenance")
    return MemoryNode(
        id=node.get("id", ""),
        concept=node.get("concept", ""),
        type=node.get("type", ""),
        created_by=node.get("createdBy", ""),
        created_at=datetime.fromisoformat(created) if created else None,
        payload=_optional(node.get("payload")),
        schema=_optional(node.get("schema")),
        metadata=_optional(node.get("metadata")),
        provenance=_provenance(provenance) if provenance else None,
    )


def _edge(edge: Mapping[str, Any]) -> GraphEdge:
    return GraphEdge(
        type=edge.get("type", ""),
        from_id=edge.get("fromId", ""),
        to_id=edge.get("toId", ""),
        depth=edge.get("depth", 0),
    )


def _optional(value: Mapping[str, Any] | None) -> Struct | None:
    return None if value is None else to_struct(value)


def _provenance(value: Mapping[str, Any]) -> Provenance:
    return Provenance(**{name: str(value.get(name) or "") for name in ("kind", "name", "trigger", "via")})
