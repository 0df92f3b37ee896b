"""The words of the language, by what they do (spec "Files and declarations", "Filters, expressions, statements")."""

from __future__ import annotations

__all__ = ["CLAUSES", "CONSTRUCTS", "DIRECTIVES", "KEYWORDS", "LITERALS", "RELATIONS"]

_CONSTRUCTS = """
    concept shape spec trait query mutation logic automation builtin prompt tool provider policy seed
"""
_CLAUSES = "args filter shape sort paginate asOf count insert update delete"
_DIRECTIVES = "asOf sort paginate select shape shapeWithBundle withDepth count history withDeleted"
_RELATIONS = "parentOf childOf contains owns aliasOf equals interactsWith createdBy ids"
_OTHERS = """
    use as include enum array map string body step publishEvent auth env params
    if else for range return when latest in not has startsWith matches
"""

CONSTRUCTS = frozenset(_CONSTRUCTS.split())
"""What begins a declaration."""

CLAUSES = frozenset(_CLAUSES.split())
"""What begins a clause of a query or a mutation, and so ends a filter."""

DIRECTIVES = frozenset(_DIRECTIVES.split())
"""What stands around a raw read."""

RELATIONS = frozenset(_RELATIONS.split())
"""The relationship functions of filters."""

LITERALS = frozenset({"true", "false", "null", "nil"})

KEYWORDS = CONSTRUCTS | CLAUSES | LITERALS | frozenset(_OTHERS.split())
"""Every word that the grammar quotes. Each is a keyword only where the grammar expects it."""
