"""Writes: the pipeline, named mutations, raw requests, bulk imports, seeds, secrets and variables."""

from memql.engine.write.bulk import BatchOutcome, BulkWriter, ImportRow, PreparedBatch, RefusedRow, StoredRow
from memql.engine.write.preview import Preview
from memql.engine.write.seeds import USER_CREATED, Seeder
from memql.engine.write.tables import StoredTables, load_tables
from memql.engine.write.variables import SecretEntry, ValueStore, VariableEntry
from memql.engine.write.writer import GraphWriter

__all__ = [
    "USER_CREATED",
    "BatchOutcome",
    "BulkWriter",
    "GraphWriter",
    "ImportRow",
    "PreparedBatch",
    "Preview",
    "RefusedRow",
    "SecretEntry",
    "Seeder",
    "StoredRow",
    "StoredTables",
    "ValueStore",
    "VariableEntry",
    "load_tables",
]
