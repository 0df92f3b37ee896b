"""An engine over a fresh database, to write the rows behind credentials with."""

from __future__ import annotations

import pytest
from issuer_system import Rows

from memql.engine.assembly import build_engine
from memql.graph.database import Database
from memql.lang.catalog import Catalog
from memql.lang.loader import load_tree, read_sources


@pytest.fixture(scope="session")
def packaged() -> Catalog:
    return load_tree(read_sources(())).require()


@pytest.fixture
def rows(database: Database, packaged: Catalog) -> Rows:
    return Rows(build_engine(database, packaged, publish=lambda event: None).writer)
