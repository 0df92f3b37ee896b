"""Reads: filters, directives, shapes and templates compiled to SQL, and the rows handed on as bytes."""

from memql.engine.read.listings import Listings
from memql.engine.read.reader import GraphReader, LoadTables

__all__ = ["GraphReader", "Listings", "LoadTables"]
