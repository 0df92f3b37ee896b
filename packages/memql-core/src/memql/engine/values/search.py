"""Full-text search in process: ``matches`` with the web search syntax, over unstemmed words.

``a b`` needs both, ``"a b"`` the phrase, ``a or b`` either, ``-a`` neither. What has no word in it matches
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["matches"]

_WORD = re.compile(r"\w+")
_TERM = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class _Term:
    words: tuple[str, ...]
    negated: bool

    def holds(self, text: list[str]) -> bool:
        size = len(self.words)
        found = any(tuple(text[at : at + size]) == self.words for at in range(len(text) - size + 1))
        return found is not self.negated


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@lru_cache(maxsize=512)
def _parse(query: str) -> tuple[tuple[_Term, ...], ...]:
    """A disjunction of conjunctions."""
    groups: list[list[_Term]] = [[]]
    joined_by_or = False
    for match in _TERM.finditer(query):
        minus, phrase, bare = match.groups()
        if bare is not None and bare.lower() == "or":
            joined_by_or = bool(groups[-1])
            continue
        text = phrase if bare is None else bare
        negated = bool(minus) or (bare is not None and bare.startswith("-"))
        words = tuple(_words(text))
        if not words:
            continue
        if joined_by_or:
            groups.append([])
            joined_by_or = False
        groups[-1].append(_Term(words, negated))
    return tuple(tuple(group) for group in groups if group)


def matches(value: Any, query: Any) -> bool:
    """Whether a text satisfies a web search query; false for anything but two texts."""
    if not (isinstance(value, str) and isinstance(query, str)):
        return False
    text = _words(value)
    return any(all(term.holds(text) for term in group) for group in _parse(query))
