"""Plans: prepared once, specialised by the types of their values, and written so that indexes serve them."""

from __future__ import annotations

from typing import Any

import pytest

from memql.engine.read.params import bind
from memql.engine.read.planner import Planner
from memql.engine.values import Env
from memql.lang import ast
from memql.lang.parser import parse_request

from .conftest import SYSTEM, Lab

pytestmark = pytest.mark.anyio

SAMPLE = "v1:lab:sample"


async def plan_lines(lab: Lab, text: str, **variables: Any) -> str:
    """How the server runs a raw read."""
    request = parse_request(text)
    ctx = lab.context(SYSTEM, **variables)
    assert isinstance(request.operation, ast.Read)
    entry = lab.reader._prepared(request.operation, {}, ctx, False)
    bound = entry.plan.evaluate(Env.of(ctx))
    statement = bound.statement
    assert statement is not None
    values = ", ".join("NULL" if each is None else "'" + each.replace("'", "''") + "'" for each in bound.params())

    async def explain(connection: Any) -> list[Any]:
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute(b"PREPARE probe AS " + statement.sql)
        cursor = await connection.execute(f"EXPLAIN EXECUTE probe({values})" if values else "EXPLAIN EXECUTE probe")
        lines: list[Any] = await cursor.fetchall()
        await connection.execute("DEALLOCATE probe")
        return lines

    return "\n".join(line for (line,) in await lab.database.transaction(explain))


async def fill(lab: Lab, rows: int = 3000) -> None:
    await lab.database.execute(
        "INSERT INTO memory_heads (id, created_at, concept, type, created_by, schema, payload, provenance, seq) "
        "SELECT 'v1:lab:sample:s' || i, now() - i * interval '1 s', 'v1:lab:sample', 'object', 'system:test', '{}', "
        "jsonb_build_object('label', 'label ' || i, 'size', i, 'tags', jsonb_build_array('t' || i), "
        "'seenAt', to_char(now() - i * interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')), '{}', i "
        "FROM generate_series(1, %s) AS i",
        (rows,),
    )
    await lab.database.execute("ANALYZE memory_heads")


async def test_declared_indexes_serve_filters(lab: Lab) -> None:
    await fill(lab)
    for condition in (
        'payload.label=="label 7"',
        "payload.size==7",
        "payload.size<7",
        'payload.seenAt=="2026-03-01T00:00:00Z"',
        'payload.seenAt<"2020-03-01T00:00:00Z"',
        'payload.tags has "t7"',
        'payload.label in ("label 7","label 8")',
    ):
        lines = await plan_lines(lab, f"concept=={SAMPLE};{condition}")
        assert "memql_field_v1_lab_sample" in lines, (condition, lines)


async def test_default_order_and_pages_walk_an_index(lab: Lab) -> None:
    await fill(lab)
    first = await lab.read(f"paginate(concept=={SAMPLE}, 20)")
    for text in (f"paginate(concept=={SAMPLE}, 20)", f'paginate(concept=={SAMPLE}, 20, "{first.meta.cursor}")'):
        lines = await plan_lines(lab, text)
        assert "memory_heads_latest" in lines
        assert "Sort" not in lines, lines


async def test_a_point_read_uses_the_primary_key(lab: Lab) -> None:
    await fill(lab)
    assert "memory_heads_pkey" in await plan_lines(lab, "id==$x", x=f"{SAMPLE}:s7")
    assert "memory_heads_pkey" in await plan_lines(lab, f"concept=={SAMPLE};id==$x", x="s7")


async def test_a_prepared_read_is_planned_once_and_has_one_variant_per_combination_of_types(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = 0
    plan = Planner.plan

    def counting(self: Planner, *args: Any) -> Any:
        nonlocal planned
        planned += 1
        return plan(self, *args)

    monkeypatch.setattr(Planner, "plan", counting)
    text = f"concept=={SAMPLE};payload.thing==$x"
    for value in (1, 2, "a", "b", None, 3.5, ["a"], True):
        await lab.read(text, x=value)
    assert planned == 1
    (entry,) = lab.reader._raw.values()
    assert len(entry.plan._variants) == 5


async def test_another_catalog_drops_the_plans(lab: Lab) -> None:
    text = f"concept=={SAMPLE}"
    await lab.read(text)
    from dataclasses import replace

    lab.catalog = replace(lab.catalog, version="another")
    lab.reader._catalog = lambda: lab.catalog
    await lab.read(text)
    assert lab.reader._planner.catalog is lab.catalog
    assert len(lab.reader._raw) == 1


async def test_parameters_that_no_text_mentions_are_not_sent(lab: Lab) -> None:
    text = f"concept=={SAMPLE};(payload.size + $a < $b || payload.size==$a)"
    assert await lab.shorts(text, a=1, b=None) == []
    assert await lab.shorts(text, a=1, b=2) == []


def test_null_values_are_sent_as_null() -> None:
    assert bind(((0, str), (1, str)), [None, 5]) == [None, "5"]


async def test_reads_inside_a_transaction_see_its_writes(lab: Lab) -> None:
    from dataclasses import replace

    text = f"concept=={SAMPLE}"

    async def work(connection: Any) -> list[str]:
        await connection.execute(
            "INSERT INTO memory_heads (id, created_at, concept, type, created_by, schema, payload, provenance, seq) "
            "VALUES ('v1:lab:sample:new', now(), 'v1:lab:sample', 'object', 'x', '{}', '{}', '{}', 1)"
        )
        ctx = replace(lab.context(SYSTEM), connection=connection)
        inside = await lab.reader.read(parse_request(text).operation, {}, ctx)  # type: ignore[arg-type]
        assert await lab.shorts(text) == []
        return list(inside.root_ids)

    assert await lab.database.transaction(work) == [f"{SAMPLE}:new"]
    assert await lab.shorts(text) == ["new"]


async def test_bodies_get_decoded_nodes_whatever_the_shape(ops: Lab) -> None:
    query = ops.catalog.queries["queryMyCustomers"]
    nodes = await ops.reader.nodes(query, {}, ops.context(ops_owner()))
    assert [node["id"] for node in nodes] == ["v1:ops:customer:acme"]
    assert nodes[0]["payload"]["tier"] == "gold"


def ops_owner() -> Any:
    from .conftest import U1

    return U1
