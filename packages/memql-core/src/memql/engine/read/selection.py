"""The members that ``select`` names, as a tree: what several paths have in common is built once."""

from __future__ import annotations

from collections.abc import Iterable

from memql.engine.read.ordering import parse_path
from memql.errors import Code, MemqlError

__all__ = ["Branch", "RowPath", "parse_selected", "selection_tree"]

RowPath = tuple[str, tuple[str | int, ...]]
"""A root of the row and the segments below it."""


class Branch:
    """A member of the selection; without members below, all of it is selected."""

    __slots__ = ("below",)

    def __init__(self) -> None:
        self.below: dict[str | int, Branch] = {}


def selection_tree(paths: Iterable[RowPath]) -> dict[str, Branch]:
    """The members of a row to show, by root; the id comes first and always."""
    tree: dict[str, Branch] = {"id": Branch()}
    for root, segments in paths:
        _graft(tree, (root, *segments))
    return tree


def _graft(tree: dict[str, Branch], path: tuple[str | int, ...]) -> None:
    root = str(path[0])
    fresh = root not in tree
    branch = tree.setdefault(root, Branch())
    for name in path[1:]:
        if not fresh and not branch.below:
            return  # a shorter path has selected all of it
        fresh = name not in branch.below
        branch = branch.below.setdefault(name, Branch())
    branch.below.clear()


def parse_selected(text: str) -> RowPath:
    """A path as ``select`` takes it: ``payload.place.*`` is all of that object.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is none.
    """
    if text == "payload.*":
        raise MemqlError(Code.INVALID_ARGUMENT, 'select(..): write "payload" for the whole payload')
    return parse_path(text.removesuffix(".*"))
