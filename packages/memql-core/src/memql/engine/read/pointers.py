"""Pointers between rows as SQL: the ids a row holds in the field of a relationship."""

from __future__ import annotations

from memql.engine.read.expressions import json_path, text_path
from memql.engine.read.links import Link
from memql.engine.read.writing import Row

__all__ = ["joined", "linked", "pointer_values"]


def pointer_values(link: Link, holder: Row) -> str:
    """The ids a holder points at; of a list, as a set of rows."""
    if link.intrinsic:
        return holder.column("created_by")
    if link.many:
        return f"jsonb_array_elements_text(memql_list({json_path(holder.column('payload'), (link.field,))}))"
    return text_path(holder.column("payload"), (link.field,))


def linked(link: Link, holder: Row, test: str) -> str:
    """Some id that a holder points at passes ``test``, such as ``= t2.id`` or ``IN (..)``."""
    if link.many:
        return f"EXISTS (SELECT FROM {pointer_values(link, holder)} AS pointer(id) WHERE pointer.id {test})"
    return f"{pointer_values(link, holder)} {test}"


def joined(link: Link, holder: Row, pointed: Row) -> str:
    """The holder points at the other row."""
    return linked(link, holder, f"= {pointed.column('id')}")
