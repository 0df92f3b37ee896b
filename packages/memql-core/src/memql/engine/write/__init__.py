"""Writes: the pipeline, named mutations, raw requests, seeds, secrets and variables."""

from memql.engine.write.events import WrittenRow, graph_events
from memql.engine.write.tables import StoredTables, load_tables
from memql.engine.write.writer import GraphWriter

__all__ = ["GraphWriter", "StoredTables", "WrittenRow", "graph_events", "load_tables"]
