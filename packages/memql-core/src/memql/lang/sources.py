"""The texts a tree is made of, as the pure checker takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Sources"]


@dataclass(frozen=True, slots=True)
class Sources:
    """A tree in memory: relative path with forward slashes to text.

    ``files`` are the ``.memql`` files; ``templates`` everything else, prompt templates above all. ``roots`` says, per
    path, which directory a text came from, for messages; it takes no part in equality.
    """

    files: Mapping[str, str]
    templates: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict, compare=False)

    def text(self, path: str) -> str | None:
        """The text of a file, or None."""
        return self.files.get(path)

    def over(self, overlay: Sources) -> Sources:
        """This tree with another laid over it: same path replaces, new paths add, an empty file removes."""
        return Sources(
            _laid(self.files, overlay.files), _laid(self.templates, overlay.templates), {**self.roots, **overlay.roots}
        )


def _laid(base: Mapping[str, str], over: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in {**base, **over}.items() if text.strip() or path not in over}
