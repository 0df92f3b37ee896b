"""Frames that no node of ours would send, as strategies of hypothesis: random, broken, and whole with wild values."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import betterproto2
from hypothesis import strategies as st

from memql.mesh.wire.envelopes import encode
from memql.mesh.wire.records import Record, encode_batch
from memql.wire.frames import encode_client
from memql.wire.payloads import CLIENT, PayloadTable

__all__ = ["broken", "frames", "messages"]

_WILD = ("", "inf", "nan", "-1", "1e400", "9" * 5000, "g:" + "9" * 5000 + ":created", "x" * 300, "\x00", "é" * 50)
_KNOWN = ("mesh.demand", "mesh.canary", "graph.node.created.v1:cognition:utterance", "#", "*." * 40)
_TEXTS = st.sampled_from((*_WILD, *_KNOWN)) | st.text(max_size=20)
_KEYS = st.sampled_from(["load", "behind", "demand", "incarnation", "authorization", "sub"]) | _TEXTS
_INTEGERS = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31), 200]) | st.integers(-(2**31), 2**31 - 1)
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda one: one.replace(tzinfo=UTC))

_PAYLOADS = st.sampled_from([b"{}", b'{"patterns":["#"]}', b'{"want":true}', b"[" * 3000]) | st.binary(max_size=20)
_RECORDS = st.builds(
    Record,
    id=_TEXTS,
    topic=_TEXTS,
    kind=_INTEGERS,
    micros=_INTEGERS | st.sampled_from([2**63 - 1, -(2**63)]),
    origin=_TEXTS,
    ttl=_INTEGERS,
    hops=_INTEGERS,
    log_seq=st.none() | _INTEGERS | st.just(2**63 - 1),
    payload=_PAYLOADS,
    cause=_TEXTS,
    actor=_TEXTS,
)
_CALLS = st.sampled_from(["si_suggest", "client_tool_result", "list_tools", "execute_query"]).map(
    lambda name: encode_client("1", CLIENT.by_name[name].number, b"")
)
_PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    str: _TEXTS,
    int: _INTEGERS,
    bool: st.booleans(),
    bytes: st.binary(max_size=40) | st.lists(_RECORDS, max_size=4).map(encode_batch) | _CALLS,
    datetime: _MOMENTS,
    float: st.floats(),
}


def frames(table: PayloadTable) -> st.SearchStrategy[list[bytes]]:
    """Envelopes as the side of a table might send them: some that are well formed, then perhaps one that is not."""
    whole = st.sampled_from(list(table.by_message)).flatmap(messages)
    good = st.tuples(_TEXTS, whole).map(lambda pair: encode(table, pair[0][:40], pair[1]))
    bad = good.flatmap(broken) | st.binary(max_size=60)
    return st.tuples(st.lists(good, max_size=10), st.lists(bad, max_size=1)).map(lambda both: both[0] + both[1])


def broken(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with a part cut off, left out or replaced."""
    places = st.integers(0, len(data))
    return st.tuples(places, places, st.binary(max_size=4)).map(
        lambda cut: data[: min(cut[:2])] + cut[2] + data[max(cut[:2]) :]
    )


def messages(kind: type[betterproto2.Message]) -> st.SearchStrategy[betterproto2.Message]:
    """Messages of a kind with any values that its types allow."""
    hints = typing.get_type_hints(kind)
    parts = {name: _values(hints[name]) for name in vars(kind)["__dataclass_fields__"] if not name.startswith("_")}
    return st.fixed_dictionaries(parts).map(lambda values: kind(**values))


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return st.none() | _values(next(one for one in arguments if one is not type(None)))
    if origin is list:
        return st.lists(_values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(_KEYS, _values(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, betterproto2.Message):
        return st.deferred(lambda: messages(hint))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _INTEGERS.map(hint)
    return _PLAIN[hint]
