"""Results: rows as the bytes the database built, plus meta (spec "Result").

A bundle holds nodes, edges and root ids; data holds shaped values. Neither is decoded on its way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

__all__ = ["Meta", "Result", "decode"]

decode = msgspec.json.decode
_encode = msgspec.json.encode


@dataclass(slots=True, kw_only=True)
class Meta:
    """What is known about a result. ``took`` is milliseconds; None, False and empty members are left out."""

    count: int | None = None
    has_more: bool = False
    cursor: str = ""
    took: int = 0
    client_id: str = ""
    server_id: str = ""
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """The JSON form, empty members left out."""
        out: dict[str, Any] = {}
        if self.count is not None:
            out["count"] = self.count
        if self.has_more:
            out["hasMore"] = True
        if self.cursor:
            out["cursor"] = self.cursor
        out["took"] = self.took
        if self.client_id:
            out["clientId"] = self.client_id
        if self.server_id:
            out["serverId"] = self.server_id
        if self.version:
            out["version"] = self.version
        return out


@dataclass(slots=True, kw_only=True)
class Result:
    """The outcome of one call. ``nodes``, ``edges`` and ``data`` are JSON values, one ``bytes`` each."""

    nodes: Sequence[bytes] = ()
    edges: Sequence[bytes] = ()
    root_ids: Sequence[str] = ()
    data: Sequence[bytes] = ()
    meta: Meta = field(default_factory=Meta)

    def bundle_json(self) -> bytes:
        """``{"nodes":[..],"edges":[..],"rootIds":[..]}`` with empty members left out; empty bytes if all are."""
        parts = []
        if self.nodes:
            parts.append(b'"nodes":[' + b",".join(self.nodes) + b"]")
        if self.edges:
            parts.append(b'"edges":[' + b",".join(self.edges) + b"]")
        if self.root_ids:
            parts.append(b'"rootIds":' + _encode(self.root_ids))
        return b"{" + b",".join(parts) + b"}" if parts else b""

    def to_json(self) -> bytes:
        """The value of ``result`` in the JSON shape: ``{"bundle"?,"data"?,"meta"}``."""
        parts = []
        if bundle := self.bundle_json():
            parts.append(b'"bundle":' + bundle)
        if self.data:
            parts.append(b'"data":[' + b",".join(self.data) + b"]")
        parts.append(b'"meta":' + _encode(self.meta.to_json()))
        return b"{" + b",".join(parts) + b"}"

    def decoded_nodes(self) -> list[dict[str, Any]]:
        """The nodes as Python values; for in-process use and tests."""
        return [decode(node) for node in self.nodes]

    def decoded_data(self) -> list[Any]:
        """The data as Python values; for in-process use and tests."""
        return [decode(value) for value in self.data]

    def chunks(self, max_rows: int = 1000, max_bytes: int = 1 << 20) -> Iterator[tuple[bytes, bool]]:
        """Cut into frames ``{"nodes","edges","rootIds","data","meta"}`` of at most ``max_rows`` rows and about
        ``max_bytes`` bytes; the last (flagged True) carries the edges and the meta."""
        pending: list[bytes] = []
        name = b"nodes" if self.nodes else b"data"
        rows = self.nodes or self.data
        roots = list(self.root_ids)
        size = 0
        if len(rows) <= max_rows and sum(map(len, rows)) + len(rows) <= max_bytes:
            pending, rows = list(rows), ()
        for row in rows:
            if pending and (len(pending) >= max_rows or size + len(row) > max_bytes):
                yield b'{"' + name + b'":[' + b",".join(pending) + b"]}", False
                pending, size = [], 0
            pending.append(row)
            size += len(row) + 1
        parts = []
        if pending:
            parts.append(b'"' + name + b'":[' + b",".join(pending) + b"]")
        if self.edges:
            parts.append(b'"edges":[' + b",".join(self.edges) + b"]")
        if roots:
            parts.append(b'"rootIds":' + _encode(roots))
        if self.nodes and self.data:
            parts.append(b'"data":[' + b",".join(self.data) + b"]")
        parts.append(b'"meta":' + _encode(self.meta.to_json()))
        yield b"{" + b",".join(parts) + b"}", True
