"""Raw requests: reads with their directives, and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from memql.lang.ast._node import Node
from memql.lang.ast.expressions import Call, Expr

__all__ = [
    "CallRead",
    "DeleteRequest",
    "DirectiveRead",
    "FilterRead",
    "InsertRequest",
    "Read",
    "Request",
    "UpdateRequest",
]


@dataclass(frozen=True, slots=True)
class FilterRead(Node):
    """A filter, optionally ``@ "ts"``. ``concept_cache`` and ``concept_fields`` are the ``@cache(n)`` and
    ``@fields(..)`` that may stand before ``concept ==``."""

    filter: Expr
    as_of: str | None = None
    concept_cache: int | None = None
    concept_fields: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CallRead(Node):
    """A call of a named construct, a relationship function excepted; ``call.callee`` is a Name.

    One positional ObjectExpr, one positional string, named arguments, or nothing."""

    call: Call


@dataclass(frozen=True, slots=True)
class DirectiveRead(Node):
    """``sort(read, ..)`` and its kin; ``args`` are what follows the read. ``latest`` is ``Name("latest")``."""

    directive: str
    read: Read
    args: tuple[Expr, ...]


Read: TypeAlias = FilterRead | CallRead | DirectiveRead


@dataclass(frozen=True, slots=True)
class InsertRequest(Node):
    """``insert("concept", id=.., payload=.., parent=.., aliasOf=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class UpdateRequest(Node):
    """``update("concept", id=.., payload=.., ifVersion=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class DeleteRequest(Node):
    """``delete("concept", id=.., reason=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Request(Node):
    """One raw query: inline specs, then a read or a write."""

    lets: tuple[tuple[str, Expr], ...]
    operation: Read | InsertRequest | UpdateRequest | DeleteRequest
