"""The real parts that tests run on: one embedded PostgreSQL per test run, a fresh migrated database per test."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from memql.graph.database import Database
from memql.graph.embedded import EmbeddedServer
from memql.graph.embedded_cluster import Cluster
from memql.graph.migrator import migrate
from memql.lang.loader import Sources, read_sources

_TEMPLATE_LOCK = 7756010113207019999


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The store speaks asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one loop for all tests: gRPC's poller is one per process and must not meet a closed loop."""
    yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """The server of this run; the workers of one run share it, and the last one out stops it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    home = Path(tempfile.gettempdir()) / f"memql-tests-{run[:12]}"
    cluster = Cluster(home)
    server = cluster.enter(60.0)
    yield server
    if cluster.leave():
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
async def template(postgres: EmbeddedServer) -> str:
    """The name of a migrated database that is copied for every test."""
    name = "memql_template"
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_TEMPLATE_LOCK,))
        found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if found.rowcount == 0:
            await connection.execute("CREATE DATABASE memql_building")
            async with Database.open(postgres.dsn_of("memql_building")) as database:
                await migrate(database)
            await connection.execute("ALTER DATABASE memql_building RENAME TO memql_template")
    return name


@pytest.fixture
async def dsn(postgres: EmbeddedServer, template: str) -> AsyncIterator[str]:
    """The connection string of a fresh, migrated database."""
    name = f"memql_{uuid.uuid4().hex[:16]}"
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield postgres.dsn_of(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """An open, migrated, empty database."""
    async with Database.open(dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def ops_tree() -> Sources:
    """The worked example tree over the packaged one; ``load_tree(ops_tree).require()`` is its catalog."""
    return read_sources([Path(__file__).parent.parent / "trees" / "ops"])
