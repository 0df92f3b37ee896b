"""The words of a question worth searching for."""

from __future__ import annotations

import re
from typing import Final, LiteralString

from memql.graph.database import Database

__all__ = ["search_text", "search_words", "words_of"]

_WORD: Final = re.compile(r"\w+")
_MOST_WORDS: Final = 64
_MOST_SEARCHED: Final = 12

_DICTIONARIES: Final = [
    f"pg_catalog.{language}_stem"
    for language in (
        "english", "spanish", "german", "french", "italian", "portuguese", "dutch", "danish", "swedish", "norwegian",
        "finnish", "hungarian", "russian", "turkish",
    )
]  # fmt: skip
_STOP_WORDS: Final[LiteralString] = (
    "SELECT dictionary.name, array_agg(word) FROM unnest(%s::text[]) AS word, "
    "unnest(%s::text[]) WITH ORDINALITY AS dictionary (name, rank) "
    "WHERE ts_lexize(dictionary.name::regdictionary, word) = '{}' "
    "GROUP BY dictionary.name, dictionary.rank ORDER BY count(*) DESC, dictionary.rank LIMIT 1"
)
"""The language with most stop words among the words, and which they are; PostgreSQL brings the lists."""


def words_of(question: str) -> list[str]:
    """The words of a text, each once, in lower case and in order."""
    return list(dict.fromkeys(_WORD.findall(question.lower())))[:_MOST_WORDS]


def search_text(words: list[str]) -> str:
    """A full-text search, in web syntax, for any of some words."""
    return " or ".join(f'"{word}"' for word in words)


async def search_words(question: str, database: Database) -> list[str]:
    """The words of a question without those that every text of its language has.

    The language is the one with most of its stop words in the question. When nothing else is left, there is nothing to
    search for.
    """
    words = words_of(question)
    if not words:
        return []
    found = await database.fetch_one(_STOP_WORDS, (words, _DICTIONARIES))
    stopped = set() if found is None else set(found[1])
    return [word for word in words if word not in stopped][:_MOST_SEARCHED]
