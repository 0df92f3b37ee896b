"""Topics and topic patterns (spec "Subscriptions and events", "Automation").

A topic is dot-separated segments, such as ``graph.node.created.v1:ops:job``. In a pattern the segment ``*``
stands for exactly one segment and ``#`` for zero or more; ``*`` and ``?`` inside a segment are a glob within
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from memql.errors import Code, MemqlError

__all__ = [
    "MAX_SEGMENTS",
    "MAX_TOPIC",
    "RESERVED_ROOTS",
    "Pattern",
    "check_topic",
    "compile_pattern",
    "compile_patterns",
    "node_topic",
    "normalize",
    "normalize_pattern",
    "root_of",
]

MAX_TOPIC = 512
"""The longest topic or pattern, in characters."""

MAX_SEGMENTS = 32
"""The most segments of a topic or pattern."""

RESERVED_ROOTS = frozenset({"graph", "system", "session", "query", "automation"})
"""First segments that ``publishEvent`` refuses: what is under them is published by the engine only."""

_DOTS = re.compile(r"\.{2,}")
_OUTER = ". \t\r\n"
_CONCEPT = re.compile(r"v(?:[0-9]+|\*|\?).*:.*")
_CHARACTERS = re.compile(r"[A-Za-z0-9_:~.-]+")
_ACTIONS = frozenset({"created", "updated", "deleted", "*"})

T = TypeVar("T")
P = TypeVar("P")


def normalize(text: str) -> str:
    """Trim blanks, collapse repeated dots and strip outer dots."""
    return _DOTS.sub(".", text.strip(_OUTER))


def normalize_pattern(text: str) -> str:
    """The canonical form of a pattern: normalised, ``#`` when empty, without a partition segment.

    A node pattern that still names a partition (``graph.node.created.default.v1:ops:job``) loses that
    segment.
    """
    segments = normalize(text).split(".")
    if segments == [""]:
        return "#"
    named = len(segments) == 5 and segments[:2] == ["graph", "node"] and segments[2] in _ACTIONS
    if named and segments[3] != "#" and (segments[4] == "*" or _CONCEPT.fullmatch(segments[4])):
        del segments[3]
    return ".".join(segments)


def root_of(topic: str) -> str:
    """The first segment."""
    return topic.partition(".")[0]


def node_topic(action: str, concept: str) -> str:
    """The topic of a graph event; ``action`` is created, updated or deleted."""
    return f"graph.node.{action}.{concept}"


def check_topic(text: str) -> str:
    """The normalised topic.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is empty, too long, or has a character a topic cannot
        have.
    """
    topic = normalize(text)
    fits = len(topic) <= MAX_TOPIC and topic.count(".") < MAX_SEGMENTS
    if fits and _CHARACTERS.fullmatch(topic):
        return topic
    raise MemqlError(
        Code.INVALID_ARGUMENT,
        f"{text[:80]!r} is no topic: expected 1 to {MAX_SEGMENTS} segments of letters, digits and _:~-, "
        f"joined by dots, at most {MAX_TOPIC} characters",
    )


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_exact", "_segments", "text")

    def __init__(self, text: str) -> None:
        """Compile a normalised pattern; use :func:`compile_pattern`, which normalises, checks and caches."""
        self.text = text
        self._segments = tuple(text.split("."))
        self._exact = not any(mark in text for mark in "*?#")

    @property
    def root(self) -> str | None:
        """The first segment when every matching topic starts with it, else None."""
        first = self._segments[0]
        return None if first == "#" or "*" in first or "?" in first else first

    def matches(self, topic: str) -> bool:
        """Whether a normalised topic is in the set; linear in pattern length times topic length."""
        if self._exact:
            return topic == self.text
        return _wildcard(topic.split("."), self._segments, "#", _segment_matches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


@lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """Normalise and compile.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is too long or has too many segments.
    """
    pattern = normalize_pattern(text)
    if len(pattern) > MAX_TOPIC or pattern.count(".") >= MAX_SEGMENTS:
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"the topic pattern {pattern[:80]!r} is too long: at most {MAX_SEGMENTS} segments, {MAX_TOPIC} characters",
        )
    return Pattern(pattern)


def compile_patterns(texts: str | Iterable[str]) -> tuple[Pattern, ...]:
    """Compile one or several, repeats left out."""
    each = (texts,) if isinstance(texts, str) else texts
    return tuple(dict.fromkeys(compile_pattern(text) for text in each))


def _segment_matches(segment: str, pattern: str) -> bool:
    if pattern == "*":
        return bool(segment)
    if "*" not in pattern and "?" not in pattern:
        return segment == pattern
    return _wildcard(segment, pattern, "*", lambda char, mark: mark in {"?", char})


def _wildcard(items: Sequence[T], pattern: Sequence[P], many: P, matches: Callable[[T, P], bool]) -> bool:
    """Match with ``many`` standing for any run. Only the last run seen is ever widened, so it cannot blow
    up."""
    at = mark = 0
    run_mark, run_at = -1, 0
    while at < len(items):
        if mark < len(pattern) and pattern[mark] == many:
            run_mark, run_at = mark, at
            mark += 1
        elif mark < len(pattern) and matches(items[at], pattern[mark]):
            at += 1
            mark += 1
        elif run_mark >= 0:
            run_at += 1
            at, mark = run_at, run_mark + 1
        else:
            return False
    return all(rest == many for rest in pattern[mark:])
