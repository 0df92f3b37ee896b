"""The worked examples' system: their tree over a real database, with and without their rows."""

from __future__ import annotations

import pytest
from ops_system import FIXTURE, SYSTEM, Ops

from memql.engine.assembly import build_engine
from memql.events import Event
from memql.graph.database import Database
from memql.graph.indexes import ensure_indexes
from memql.lang.loader import Sources, load_tree


@pytest.fixture
async def empty_ops(database: Database, ops_tree: Sources) -> Ops:
    """The system without rows."""
    catalog = load_tree(ops_tree).require()
    await ensure_indexes(database, catalog.concepts.values())
    events: list[Event] = []
    engine = build_engine(database, catalog, publish=events.append)
    return Ops(engine, database, events)


@pytest.fixture
async def ops(empty_ops: Ops) -> Ops:
    """The system with the examples' rows."""
    for text in FIXTURE:
        await empty_ops.run(text, SYSTEM)
    empty_ops.events.clear()
    return empty_ops
