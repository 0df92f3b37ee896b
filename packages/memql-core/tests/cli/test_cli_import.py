from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memql.cli.import_rows import BadLine, ColumnMap, ParsedLine, RowSource, detect_format
from memql.cli.import_run import ImportPlan, ImportRun
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.lang.catalog import Concept
from memql.lang.loader import load_tree, read_sources

CUSTOMERS = """id,name,tier,ownerUserId,prefs.sms
acme,Acme,gold,u1,yes
bolt,,basic,u2,no
cora,Cora,silver,u1,maybe
dora,Dora,silver,u1,no
emma,Emma,,u2,
"""


@pytest.fixture
def store(anyio_backend: str, dsn: str, clean_environment: Path, monkeypatch: pytest.MonkeyPatch, ops_tree: str) -> str:
    """A fresh database that the command finds by its settings, with the worked examples' tree."""
    monkeypatch.setenv("MEMQL_DATABASE_DSN", dsn)
    monkeypatch.setenv("MEMQL_DSL_PATH", ops_tree)
    return dsn


@pytest.fixture
def customer(ops_tree: str) -> Concept:
    return load_tree(read_sources([Path(ops_tree)])).require().concepts["v1:ops:customer"]


# --- reading files ------------------------------------------------------------------------------------------


def read(path: Path, concept: Concept, *pairs: str, id_column: str | None = None) -> list[ParsedLine | BadLine]:
    columns = ColumnMap.parse(pairs, id_column)
    return list(RowSource(path, detect_format(path, None), concept, columns))


def test_cells_take_the_types_of_their_fields(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_text("key,name,prefs.sms,prefs.language\nacme,Acme,YES,en\nbolt,Bolt,,\n")
    rows = read(file, customer, id_column="key")
    assert rows == [
        ParsedLine(2, {"name": "Acme", "prefs": {"sms": True, "language": "en"}}, "acme"),
        ParsedLine(3, {"name": "Bolt"}, "bolt"),
    ]


def test_columns_are_mapped_and_dropped(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_text("Company,Noise\nAcme,x\n")
    assert read(file, customer, "Company=name", "Noise=") == [ParsedLine(2, {"name": "Acme"}, None)]


def test_a_column_that_goes_nowhere_stops_the_import_with_a_proposal(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_text("nam\nAcme\n")
    with pytest.raises(MemqlError, match="--map nam=FIELD") as raised:
        read(file, customer)
    assert raised.value.suggestion == {"didYouMean": "name"}


def test_records_over_several_lines_keep_the_number_of_their_first(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_text('name,tier\n"Acme\nInc",gold\nBolt\nCora,gold\n')
    first, second, third = read(file, customer)
    assert first == ParsedLine(2, {"name": "Acme\nInc", "tier": "gold"}, None)
    assert isinstance(second, BadLine)
    assert second.line == 4
    assert third.line == 5


def test_json_lines_are_read_and_bad_ones_reported(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"id":7,"name":"Acme","prefs":{"sms":true}}\n\n[1]\n{"name":\n{"nam":"x"}\n')
    rows = read(file, customer, id_column="id")
    assert rows[0] == ParsedLine(1, {"name": "Acme", "prefs": {"sms": True}}, "7")
    assert [(row.line, type(row)) for row in rows[1:]] == [(3, BadLine), (4, BadLine), (5, BadLine)]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_bytes("\ufeffname\r\nAcme\r\n".encode())
    assert read(file, customer) == [ParsedLine(2, {"name": "Acme"}, None)]


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / "c.csv"
    file.write_bytes(b"name\nAcm\xe9\n")
    with pytest.raises(MemqlError) as raised:
        read(file, customer)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_an_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(MemqlError, match="--format"):
        detect_format(tmp_path / "data.bin", None)
    assert detect_format(tmp_path / "data.bin", "csv") == "csv"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=10))
def test_any_text_survives_a_csv_file(rows: list[tuple[str, str]], tmp_path: Path, customer: Concept) -> None:
    rows = [(_storable(name), _storable(language)) for name, language in rows]
    file = tmp_path / "any.csv"
    with file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(["name", "prefs.language"])
        writer.writerows(rows)
    expected = [{"name": name, **({"prefs": {"language": language}} if language else {})} for name, language in rows]
    assert [row.payload for row in read(file, customer) if isinstance(row, ParsedLine)] == expected


def _storable(text: str) -> str:
    return text.encode("utf-8", "ignore").decode() or "x"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str, tmp_path: Path, customer: Concept) -> None:
    file = tmp_path / f"any.{suffix}"
    file.write_bytes(content)
    try:
        rows = read(file, customer)
    except MemqlError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert all(isinstance(row, ParsedLine | BadLine) for row in rows)


# --- importing ----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_good_lines_are_stored_and_each_bad_one_is_told(
    store: str, memql_process: Any, tmp_path: Path, database: Database
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(CUSTOMERS)
    rejects = tmp_path / "rejects.jsonl"
    outcome = memql_process("import", "v1:ops:customer", str(file), "--id", "id", "--rejects", str(rejects))
    assert outcome.code == 1
    assert "2 rows stored, 3 refused, 5 read" in outcome.err
    assert f"{file}:3: MISSING_REQUIRED_FIELDS" in outcome.err
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [3, 4, 5]
    rows = await database.fetch("SELECT id, payload, created_by FROM memory_heads ORDER BY id")
    assert [row[0] for row in rows] == ["v1:ops:customer:acme", "v1:ops:customer:emma"]
    assert rows[0][1]["prefs"] == {"sms": True}
    assert rows[1][1]["tier"] == "basic"
    assert rows[0][2] == "system:import"


def test_an_unknown_concept_is_told(store: str, memql: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text("name\nAcme\n")
    outcome = memql("import", "v1:ops:custmer", str(file))
    assert outcome.code == 1
    assert "error UNKNOWN_CONCEPT" in outcome.err


def test_a_missing_file_is_told(store: str, memql: Any, tmp_path: Path) -> None:
    outcome = memql("import", "v1:ops:customer", str(tmp_path / "none.csv"))
    assert outcome.code == 1
    assert "there is no file" in outcome.err


def _import_and_kill(file: Path) -> None:
    command = [sys.executable, "-m", "memql", "import", "v1:ops:route", str(file), "--batch", "200"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        # A refused line is told right after its batch has committed: near the worst moment for the checkpoint.
        if "INVALID_FIELD_TYPE" in process.stderr.readline():
            process.send_signal(signal.SIGKILL)


@pytest.mark.anyio
async def test_an_import_that_is_killed_goes_on_and_stores_every_row_once(
    store: str, memql_process: Any, tmp_path: Path, database: Database, clean_environment: Path
) -> None:
    file = tmp_path / "routes.jsonl"
    with file.open("w") as lines:
        for number in range(3000):
            broken = number % 1000 == 999
            row = {"day": 7 if broken else f"2026-01-{number % 28 + 1:02}", "jobIds": [f"j{number}"]}
            lines.write(json.dumps(row) + "\n")
    for _ in range(2):
        await anyio.to_thread.run_sync(_import_and_kill, file)
    outcome = memql_process("import", "v1:ops:route", str(file), "--batch", "200")
    assert "2997 rows stored, 3 refused, 3000 read" in outcome.err
    (stored,) = await database.fetch("SELECT count(*), count(DISTINCT id) FROM memory_nodes")
    assert stored == (2997, 2997)
    assert list((clean_environment / "imports").iterdir()) == []


class _LostError(Exception):
    """Stands for the death of the process."""


@pytest.mark.anyio
async def test_a_batch_that_committed_before_its_checkpoint_is_not_written_twice(
    store: str, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memql.cli.boot import boot_settings
    from memql.cli.workbench import open_workbench

    file = tmp_path / "routes.jsonl"
    file.write_text("".join(json.dumps({"day": f"d{number}"}) + "\n" for number in range(10)) + '{"day": 1}\n')
    plan = ImportPlan(path=file, form="jsonl", concept="v1:ops:route", columns=ColumnMap(), batch=4)
    checkpoint = tmp_path / "state" / "c.json"

    def lost(*_: Any) -> None:
        raise _LostError

    async with open_workbench(boot_settings()) as bench:
        run = ImportRun(plan, bench.writer, bench.database, checkpoint, restart=False)
        with monkeypatch.context() as patched:
            saved = run._save
            patched.setattr(run, "_save", lambda state: lost() if state.batches == 2 else saved(state))
            with pytest.raises(_LostError):
                await run.run(lambda _: None)
        again = ImportRun(plan, bench.writer, bench.database, checkpoint, restart=False)
        state = await again.run(lambda _: None)
    assert (state.stored, state.refused, state.records) == (10, 1, 11)
    (row,) = await database.fetch("SELECT count(*), count(DISTINCT id) FROM memory_nodes")
    assert row == (10, 10)
    assert not checkpoint.exists()


@pytest.mark.anyio
async def test_a_run_does_not_go_on_with_another_file(store: str, tmp_path: Path) -> None:
    from memql.cli.boot import boot_settings
    from memql.cli.workbench import open_workbench

    file = tmp_path / "routes.jsonl"
    file.write_text('{"day": "d1"}\n{"day": "d2"}\n')
    plan = ImportPlan(path=file, form="jsonl", concept="v1:ops:route", columns=ColumnMap(), batch=1)
    checkpoint = tmp_path / "c.json"

    def lost(_: Any) -> None:
        raise _LostError

    async with open_workbench(boot_settings()) as bench:
        with pytest.raises(_LostError):
            await ImportRun(plan, bench.writer, bench.database, checkpoint, restart=False).run(lost)
        file.write_text('{"day": "other"}\n')
        with pytest.raises(MemqlError, match="--restart") as raised:
            await ImportRun(plan, bench.writer, bench.database, checkpoint, restart=False).run(lambda _: None)
        assert raised.value.code is Code.FAILED_PRECONDITION
        state = await ImportRun(plan, bench.writer, bench.database, checkpoint, restart=True).run(lambda _: None)
    assert state.stored == 1
