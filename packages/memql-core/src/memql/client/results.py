"""Results of queries: the JSON that the server sent, decoded when it is looked at (spec "Result")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from memql.errors import Code, MemqlError

__all__ = ["Edge", "Meta", "Result", "Row"]

_T = TypeVar("_T")
_Text = str
_Int = int
_Float = float
_Bool = bool
_MISSING = object()


class Row(Mapping[str, Any]):
    """One row: a shaped object as the query declared it, or a node (id, concept, type, createdAt,
    payload...).

    The typed readers take a dotted path; a member that is absent or null gives the default, one of another
    type raises ``INVALID_FIELD_TYPE``.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[_Text, Any]) -> None:
        self._values = values

    def __getitem__(self, key: _Text) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[_Text]:
        return iter(self._values)

    def __len__(self) -> _Int:
        return len(self._values)

    def __repr__(self) -> _Text:
        return f"Row({dict(self._values)!r})"

    def get_path(self, path: _Text, default: Any = None) -> Any:
        """The value at a dotted path such as ``payload.tags.0``; a member of that exact name comes first."""
        if path in self._values:
            return self._values[path]
        value: Any = self._values
        for segment in path.split("."):
            value = _step(value, segment)
            if value is _MISSING:
                return default
        return value

    def str(self, path: _Text, default: _Text = "") -> _Text:
        """The text at a path."""
        return self._typed(path, _Text, default, "text")

    def int(self, path: _Text, default: _Int = 0) -> _Int:
        """The whole number at a path; ``3.0`` is one."""
        value = self._typed(path, (_Int, _Float), default, "a whole number")
        if isinstance(value, _Bool) or value != _Int(value):
            raise _wrong_type(path, value, "a whole number")
        return _Int(value)

    def float(self, path: _Text, default: _Float = 0.0) -> _Float:
        """The number at a path."""
        value = self._typed(path, (_Int, _Float), default, "a number")
        if isinstance(value, _Bool):
            raise _wrong_type(path, value, "a number")
        return _Float(value)

    def bool(self, path: _Text, default: _Bool = False) -> _Bool:
        """The truth value at a path."""
        return self._typed(path, _Bool, default, "true or false")

    def obj(self, path: _Text) -> Row:
        """The object at a path; empty when absent."""
        value = self.get_path(path)
        if value is None:
            return Row({})
        if not isinstance(value, Mapping):
            raise _wrong_type(path, value, "an object")
        return Row(value)

    def list(self, path: _Text) -> Sequence[Any]:
        """The list at a path; empty when absent."""
        value = self.get_path(path)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong_type(path, value, "a list")
        return value

    def _typed(self, path: _Text, kind: Any, default: _T, expected: _Text) -> _T:
        value = self.get_path(path)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise _wrong_type(path, value, expected)
        return value  # type: ignore[no-any-return]


def _step(value: Any, segment: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(segment, _MISSING)
    if isinstance(value, list) and segment.isdecimal() and int(segment) < len(value):
        return value[int(segment)]
    return _MISSING


def _wrong_type(path: str, value: Any, expected: str) -> MemqlError:
    return MemqlError(
        Code.INVALID_FIELD_TYPE,
        f"{path!r} of the row is {type(value).__name__}, not {expected}; read it with the method of its type",
    )


@dataclass(frozen=True, slots=True)
class Edge:
    """A relationship between two nodes of a result."""

    type: str
    from_id: str
    to_id: str
    depth: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What is known about a result. ``took`` is milliseconds at the server; ``cursor`` continues a page."""

    count: int | None = None
    has_more: bool = False
    cursor: str = ""
    took: int = 0
    client_id: str = ""
    server_id: str = ""
    version: int = 0


class _Frame(msgspec.Struct, rename="camel"):
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    root_ids: list[str] = []
    data: list[Any] = []
    meta: dict[str, Any] = {}


_decode_frame = msgspec.json.Decoder(_Frame).decode


def _joined(frames: Sequence[bytes]) -> _Frame:
    if len(frames) == 1:
        return _decode_frame(frames[0])
    whole = _Frame()
    for frame in map(_decode_frame, frames):
        whole.nodes.extend(frame.nodes)
        whole.edges.extend(frame.edges)
        whole.root_ids.extend(frame.root_ids)
        whole.data.extend(frame.data)
        whole.meta.update(frame.meta)
    return whole


class Result:
    """The outcome of one call, from one or more frames of JSON."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = tuple(frames)
        self._frame: _Frame | None = None
        self._nodes: list[Row] | None = None
        self._rows: list[Row] | None = None

    @property
    def raw(self) -> tuple[bytes, ...]:
        """The frames as the server sent them: ``{"nodes","edges","rootIds","data","meta"}``, parts left
        out.
        """
        return self._frames

    @property
    def _decoded(self) -> _Frame:
        if self._frame is None:
            self._frame = _joined(self._frames)
        return self._frame

    @property
    def nodes(self) -> list[Row]:
        """The nodes of a bundle: the matches and what was traversed from them."""
        if self._nodes is None:
            self._nodes = list(map(Row, self._decoded.nodes))
        return self._nodes

    @cached_property
    def edges(self) -> list[Edge]:
        """The relationships of a bundle."""
        return [
            Edge(edge["type"], edge["fromId"], edge["toId"], int(edge.get("depth", 1))) for edge in self._decoded.edges
        ]

    @property
    def root_ids(self) -> list[str]:
        """The ids of the matches, in order; a frame that leaves them out has no other nodes."""
        return self._decoded.root_ids or [node["id"] for node in self._decoded.nodes if "id" in node]

    @property
    def data(self) -> list[Any]:
        """The shaped values, in order."""
        return self._decoded.data

    @property
    def rows(self) -> list[Row]:
        """The matches: shaped rows if the query has a shape, else the root nodes. A bare value is
        ``{"value": v}``.
        """
        if self._rows is None:
            self._rows = self._matches(self._decoded)
        return self._rows

    def _matches(self, frame: _Frame) -> list[Row]:
        if frame.data:
            return [Row(item) if isinstance(item, dict) else Row({"value": item}) for item in frame.data]
        if not frame.root_ids or len(frame.root_ids) == len(frame.nodes):
            return self.nodes
        by_id = {node["id"]: node for node in self.nodes}
        return [by_id[root] for root in frame.root_ids if root in by_id]

    def single(self) -> Row:
        """The one row.

        :raises MemqlError: ``NOT_FOUND`` when there is none, ``CONFLICT`` when there are several.
        """
        rows = self.rows
        if len(rows) == 1:
            return rows[0]
        if not rows:
            raise MemqlError(Code.NOT_FOUND, "the result has no row where one was expected")
        raise MemqlError(Code.CONFLICT, f"the result has {len(rows)} rows where one was expected", retryable=False)

    @cached_property
    def meta(self) -> Meta:
        """Count, cursor, timing and ids."""
        values = self._decoded.meta
        return Meta(
            count=values.get("count"),
            has_more=values.get("hasMore", False),
            cursor=values.get("cursor", ""),
            took=values.get("took", 0),
            client_id=values.get("clientId", ""),
            server_id=values.get("serverId", ""),
            version=values.get("version", 0),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"Result(rows={len(self.rows)}, meta={self.meta!r})"
