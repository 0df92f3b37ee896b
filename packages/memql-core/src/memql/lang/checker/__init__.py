"""The checker: declarations to a catalog, in passes; every problem is one finding (spec "Names and loading")."""

from __future__ import annotations

from memql.lang.checker.load import Loaded, load_tree

__all__ = ["Loaded", "load_tree"]
