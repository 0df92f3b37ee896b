"""Which requests only read, and so may be sent again when their answer was lost."""

from __future__ import annotations

import re

__all__ = ["is_read"]

_READ_WORDS = frozenset(
    [
        "asOf",
        "sort",
        "paginate",
        "select",
        "shape",
        "shapeWithBundle",
        "withDepth",
        "count",
        "history",
        "withDeleted",
        "childOf",
        "parentOf",
        "contains",
        "owns",
        "interactsWith",
        "aliasOf",
        "equals",
        "createdBy",
        "ids",
        "concepts",
        "functions",
        "tools",
        "shapeTemplates",
        "help",
        "shapeHelp",
        "serviceVersion",
        "memqlDocs",
        "validate",
        "contentId",
        "previewInsert",
    ]
)
_HEAD = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(\(|==|@)?")


def is_read(text: str) -> bool:
    """Whether a request's text can be told to be a read. Writes, logic and anything unclear are not.

    Named queries are known by the naming rule: their names begin with ``query``.
    """
    head = _HEAD.match(text)
    if head is None:
        return False
    word, follows = head.groups()
    if follows == "(":
        return word in _READ_WORDS or re.match(r"query[A-Z0-9_]", word) is not None
    return word in {"concept", "id"}
