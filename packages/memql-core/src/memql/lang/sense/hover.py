"""``hover`` and ``definition``: what the name at a place means, and where it is defined."""

from __future__ import annotations

from memql.lang.catalog import Catalog
from memql.lang.sense.document import open_document
from memql.lang.sense.index import index_of, tree_path
from memql.lang.sense.model import Hover, Target
from memql.lang.sense.resolve import Meaning, meaning_at

__all__ = ["definition", "hover"]


def hover(source: str, line: int, column: int, path: str, catalog: Catalog) -> Hover | None:
    """What stands at a place, as Markdown; None where nothing has a meaning. Never raises.

    Parameters are those of :func:`memql.lang.sense.complete`.
    """
    meaning = _meaning(source, line, column, path, catalog)
    return Hover(meaning.entry.markdown(catalog), meaning.span) if meaning else None


def definition(source: str, line: int, column: int, path: str, catalog: Catalog) -> tuple[Target, ...]:
    """Where the name at a place is defined; empty for words of the language. Never raises.

    Parameters are those of :func:`memql.lang.sense.complete`.
    """
    meaning = _meaning(source, line, column, path, catalog)
    return (meaning.entry.target,) if meaning and meaning.entry.target else ()


def _meaning(source: str, line: int, column: int, path: str, catalog: Catalog) -> Meaning | None:
    document = open_document(source, tree_path(catalog, path))
    return meaning_at(document, document.offset(line, column), index_of(catalog, document))
