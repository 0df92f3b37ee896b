"""Results: rows as the bytes the database built, plus meta (spec "Result").

A bundle holds nodes, edges and root ids; data holds shaped values. Neither is decoded on its way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

__all__ = ["Meta", "Result", "decode"]

decode = msgspec.json.decode
_encode = msgspec.json.encode
_ID = b'{"id":"'


class Meta(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """What is known about a result. ``took`` is milliseconds; in JSON, None, False and empty members are left out."""

    count: int | None = None
    has_more: bool = False
    cursor: str = ""
    took: int = msgspec.field(default_factory=int)  # a factory's value is never left out
    client_id: str = ""
    server_id: str = ""
    version: int = 0


@dataclass(slots=True, kw_only=True)
class Result:
    """The outcome of one call. ``nodes``, ``edges`` and ``data`` are JSON values, one ``bytes`` each.

    ``roots`` is how many of the nodes are matches: those come first, what was traversed from them follows.
    """

    nodes: Sequence[bytes] = ()
    roots: int = 0
    edges: Sequence[bytes] = ()
    data: Sequence[bytes] = ()
    meta: Meta = field(default_factory=Meta)

    @property
    def root_ids(self) -> list[str]:
        """The ids of the matches, in order."""
        return [_id_of(node) for node in self.nodes[: self.roots]]

    @property
    def size(self) -> int:
        """What it takes to keep, in rows."""
        return len(self.nodes) + len(self.edges) + len(self.data) + 1

    def copy(self) -> Result:
        """One whose meta can be completed without changing this one's."""
        return replace(self, meta=copy(self.meta))

    def bundle_json(self) -> bytes:
        """``{"nodes":[..],"edges":[..],"rootIds":[..]}`` with empty members left out; empty bytes if all are."""
        parts = []
        if self.nodes:
            parts.append(b'"nodes":[' + b",".join(self.nodes) + b"]")
        if self.edges:
            parts.append(b'"edges":[' + b",".join(self.edges) + b"]")
        if self.roots:
            parts.append(b'"rootIds":' + _encode(self.root_ids))
        return b"{" + b",".join(parts) + b"}" if parts else b""

    def to_json(self) -> bytes:
        """The value of ``result`` in the JSON shape: ``{"bundle"?,"data"?,"meta"}``."""
        parts = []
        if bundle := self.bundle_json():
            parts.append(b'"bundle":' + bundle)
        if self.data:
            parts.append(b'"data":[' + b",".join(self.data) + b"]")
        parts.append(b'"meta":' + _encode(self.meta))
        return b"{" + b",".join(parts) + b"}"

    def decoded_nodes(self) -> list[dict[str, Any]]:
        """The nodes as Python values; for in-process use and tests."""
        return [decode(node) for node in self.nodes]

    def decoded_data(self) -> list[Any]:
        """The data as Python values; for in-process use and tests."""
        return [decode(value) for value in self.data]

    def chunks(self, max_rows: int = 1000, max_bytes: int = 1 << 20) -> Iterator[tuple[bytes, bool]]:
        """Cut into frames ``{"nodes","edges","rootIds","data","meta"}`` of at most ``max_rows`` rows and about
        ``max_bytes`` bytes; the last (flagged True) carries the edges and the meta.

        ``rootIds`` is left out when every node is a match, in the order of the nodes.
        """
        rows = self.nodes or self.data
        pages = [rows]
        if len(rows) > max_rows or sum(map(len, rows)) + len(rows) > max_bytes:
            pages = _pages(rows, max_rows, max_bytes)
        opening = b'{"nodes":[' if self.nodes else b'{"data":['
        for page in pages[:-1]:
            yield b"".join((opening, b",".join(page), b"]}")), False
        parts = [opening, b",".join(pages[-1]), b"],"] if rows else [b"{"]
        if self.edges:
            parts += (b'"edges":[', b",".join(self.edges), b"],")
        if self.roots < len(self.nodes):
            parts += (b'"rootIds":', _encode(self.root_ids), b",")
        if self.nodes and self.data:
            parts += (b'"data":[', b",".join(self.data), b"],")
        parts += (b'"meta":', _encode(self.meta), b"}")
        yield b"".join(parts), True


def _pages(rows: Sequence[bytes], max_rows: int, max_bytes: int) -> list[Sequence[bytes]]:
    pages: list[Sequence[bytes]] = []
    page: list[bytes] = []
    size = 0
    for row in rows:
        if page and (len(page) >= max_rows or size + len(row) > max_bytes):
            pages.append(page)
            page, size = [], 0
        page.append(row)
        size += len(row) + 1
    return [*pages, page]


def _id_of(node: bytes) -> str:
    """The id of a node's JSON. What the database built begins with it."""
    if node.startswith(_ID):
        found = node[len(_ID) : node.index(b'"', len(_ID))]
        if b"\\" not in found:
            return found.decode()
    return str(decode(node).get("id", ""))
