"""Expressions compiled to closures, from source text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from memql.auth import Actor, guest
from memql.engine.context import IdSequence
from memql.engine.values import (
    NOT_RAN,
    Env,
    Invocation,
    TypeScope,
    ValueTables,
    compile_expr,
    compile_filter,
)
from memql.errors import Code, MemqlError
from memql.ids import derived_id
from memql.lang import ast
from memql.lang.catalog import ArgSpec, Builtin, Catalog, Concept, Field, Query, Relationship, Scope, Spec
from memql.lang.parser import parse_expr, parse_filter

pytestmark = pytest.mark.anyio

U1 = Actor(user_id="v1:identity:user:u1", role="writer")
NOW = "2026-03-13T00:00:00.000000Z"
PLACE: dict[str, Any] = {"namespace": "ops", "file": "t.memql", "span": ast.NO_SPAN}

JOB = Concept(
    key="v1:ops:job",
    name="job",
    version="1.0.0",
    row_type="object",
    fields=(
        Field(name="title", type=ast.ScalarType("string")),
        Field(name="dueAt", type=ast.ScalarType("datetime")),
        Field(name="customerId", type=ast.ScalarType("string")),
    ),
    relationships=(Relationship(type="parent", field="customerId", target="v1:ops:customer"),),
    json_schema={},
    schema_id="v1.ops.job",
    schema_hash="",
    **PLACE,
)
CATALOG = Catalog(
    version="1",
    concepts={"v1:ops:job": JOB},
    specs={
        "requiresAdmin": Spec(
            key="requiresAdmin",
            name="requiresAdmin",
            filter=parse_filter('actor.role == "admin"'),
            is_trait=False,
            is_context=True,
            **PLACE,
        ),
        "traitOpen": Spec(
            key="traitOpen",
            name="traitOpen",
            filter=parse_filter('payload.status == "open"'),
            is_trait=True,
            is_context=False,
            **PLACE,
        ),
    },
    queries={
        "queryJobs": Query(
            key="queryJobs", name="queryJobs", concept="v1:ops:job", args=(), filter=None, access="public", **PLACE
        )
    },
    builtins={"send": Builtin(key="send", name="send", executor="x.send", fields=(), **PLACE)},
)
SCOPE = Scope(
    concepts={"job": "v1:ops:job"},
    predicates={"requiresAdmin": "requiresAdmin", "traitOpen": "traitOpen"},
    calls={"queryJobs": "queryJobs", "send": "send"},
)


class Tables(ValueTables):
    def variable(self, name: str, *, system_only: bool) -> str | None:
        return {"A": "global" if system_only else "partition"}.get(name)

    def secret(self, name: str, *, system_only: bool) -> str | None:
        return "plain" if name == "KEY" else None


def env(**members: Any) -> Env:
    return Env(**{"actor": U1, "moment": datetime.fromisoformat(NOW), "tables": Tables(), **members})


def value(text: str, **members: Any) -> Any:
    compiled = compile_expr(parse_expr(text), SCOPE, CATALOG, mode="write")
    assert not compiled.effectful
    return compiled.evaluate(env(**members))


def holds(text: str, row: Mapping[str, Any] | None = None, **members: Any) -> bool:
    types = TypeScope(JOB, {"before": ArgSpec(name="before", type=ast.ScalarType("datetime"), required=False)})
    compiled = compile_filter(parse_filter(text), SCOPE, CATALOG, types=types)
    result = compiled.evaluate(env(row=row or {}, **members))
    assert isinstance(result, bool)
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ('"a" + "b"', "ab"),
        ("7 / 2", 3.5),
        ("-args.n", -3),
        ("args.missing ?? 5", 5),
        ('args.blank ?? "x"', "x"),
        ('coalesce(null, "", " ", null)', None),
        ('args.n > 2 ? "many" : "few"', "many"),
        ('cond(args.missing, error("lazy"), 1)', 1),
        ('concat("P", args.n, null, true, [1, 2])', "P3true[1,2]"),
        ("toString(1.5)", "1.5"),
        ('json({a: "x"})', '{"a":"x"}'),
        ('hash("abc")', "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ('canonicalId("j1", job)', "v1:ops:job:j1"),
        ('canonicalId("v1:ops:job:j1", "job")', "v1:ops:job:j1"),
        ('canonicalId("  ", v1:ops:job)', ""),
        ('shortId("v1:ops:job:j1")', "j1"),
        ('upper(trim("  a "))', "A"),
        ('contains("boiler", "oil")', True),
        ('addDuration(now, "P1D")', "2026-03-14T00:00:00.000000Z"),
        ('daysBetween(now, "2026-03-20T12:00:00Z")', 7),
        ("len(args.list)", 3),
        ('sum(args.rows, "payload.n")', 5),
        ('avg(args.rows, "payload.n")', 2.5),
        ('min(args.rows, "payload.n")', 2),
        ('max(args.rows, "payload.n")', 3),
        ('sum(null, "n")', 0),
        ('avg([], "n")', None),
        ('field(args.rows, "payload.n")', 2),
        ("first(args.list)", 1),
        ("args.rows.1.n", 3),
        ("args.list[2]", 3),
        ("args.rows[0].payload.n", 2),
        ("exists(args.missing)", False),
        ('var("A")', "partition"),
        ('systemVar("A")', "global"),
        ('var("B", "fallback")', "fallback"),
        ("actor.userId", "v1:identity:user:u1"),
        ("{a: args.missing, b: null, c: 1}", {"b": None, "c": 1}),
        ("$given.x", 1),
    ],
)
def test_an_expression_has_its_value(text: str, expected: Any) -> None:
    rows = [{"id": "1", "concept": "c", "payload": {"n": 2}}, {"id": "2", "concept": "c", "payload": {"n": 3}}]
    args = {"n": 3, "blank": " ", "list": [1, 2, 3], "rows": rows}
    result = value(text, args=args, variables={"given": {"x": 1}})
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 + true", Code.INVALID_ARGUMENT),
        ("1 / 0", Code.INVALID_ARGUMENT),
        ('"x" ? 1 : 2', Code.INVALID_ARGUMENT),
        ('error("no")', Code.INVALID_ARGUMENT),
        ('canonicalId("v1:ops:visit:w", job)', Code.INVALID_ARGUMENT),
        ('canonicalId("a", nothing)', Code.UNKNOWN_CONCEPT),
        ('var("B")', Code.NOT_FOUND),
        ("$unknown", Code.INVALID_ARGUMENT),
        ('addDuration("soon", "P1D")', Code.INVALID_ARGUMENT),
        ("nosuch(1)", Code.UNKNOWN_FUNCTION),
        ("lower(1, 2)", Code.INVALID_ARGUMENT),
        ("lower(1)", Code.INVALID_ARGUMENT),
        ("queryJobs({})", Code.INVALID_ARGUMENT),
        ('si("p")', Code.SYNTAX_ERROR),
        ('publishEvent({topic: "a.b"})', Code.INVALID_ARGUMENT),
        ('sum([{x: "a"}], "x")', Code.INVALID_ARGUMENT),
        ('min([{x: "a"}, {x: 1}], "x")', Code.INVALID_ARGUMENT),
        ('secret("KEY")', Code.INVALID_ARGUMENT),
        ("actor.password", Code.INVALID_ARGUMENT),
    ],
)
def test_what_has_no_value_is_a_coded_error(text: str, code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        value(text)
    assert caught.value.code is code


def test_new_ids_are_random_for_callers_and_derived_in_a_run() -> None:
    assert value("newId()") != value("newId()")
    first, second = (
        compile_expr(parse_expr("[newId(), newId()]"), SCOPE, CATALOG, mode="write").evaluate(
            env(ids=IdSequence(("run", "s1")))
        )
        for _ in range(2)
    )
    assert first == second == [derived_id("run", "s1", "1"), derived_id("run", "s1", "2")]


ROW = {
    "id": "v1:ops:job:j1",
    "concept": "v1:ops:job",
    "payload": {
        "title": "Boiler",
        "status": "open",
        "dueAt": "2026-03-05T00:00:00Z",
        "customerId": "v1:ops:customer:acme",
        "n": 2,
        "tags": ["a", "b"],
    },
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('payload.status == "open"; payload.n + 1 == 3', True),
        ("payload.deleted != true", True),
        ("payload.title + 1 == 3", False),
        ("payload.title + 1 != 3", True),
        ("payload.title", False),
        ("!payload.title", True),
        ('payload.dueAt < "2026-03-05T01:00:00+02:00"', False),
        ('payload.dueAt == "2026-03-05T01:00:00+01:00"', True),
        ('payload.status in ("open", "done")', True),
        ('payload.status not in ("open", "done")', False),
        ('payload.tags has "a"', True),
        ('payload.tags in ("b", "x")', True),
        ('payload.title startsWith "Boi"', True),
        ('payload.title matches "boiler"', True),
        ("traitOpen", True),
        ("traitOpen; requiresAdmin", False),
        ('id == "j1"', True),
        ('id in ("j0", "j1")', True),
        ('payload.customerId == "acme"', True),
        ('payload.customerId == "v1:ops:customer:bolt"', False),
        ("payload.missing == null", True),
        ("?.payload.status == args.status", True),
        ("?.payload.status == args.status || payload.n == 99", False),
        ("when(args.status) { payload.status == args.status }", True),
        ("!(?.payload.status == args.status)", False),
        ("args.status == null || payload.status == args.status", True),
    ],
)
def test_a_filter_runs_on_a_row(text: str, expected: bool) -> None:
    assert holds(text, ROW) is expected


def test_a_bare_comparison_with_an_omitted_argument_is_refused() -> None:
    with pytest.raises(MemqlError, match=r"args\.status"):
        holds("payload.status == args.status", ROW)
    assert holds("payload.status == args.status", ROW, args={"status": "open"})
    assert not holds("?.payload.status == args.status", ROW, args={"status": ""})


def test_nobody_is_never_equal_to_anything() -> None:
    for text, expected in (
        ("payload.owner == actor.userId", False),
        ("payload.owner != actor.userId", True),
        ("actor.userId in payload.members", False),
        ("payload.members has actor.userId", False),
    ):
        row = {"payload": {"owner": "", "members": [""]}}
        assert holds(text, row, actor=guest()) is expected
        assert holds(text, {"payload": {}}, actor=guest()) is expected


def test_a_filter_needs_no_graph() -> None:
    with pytest.raises(MemqlError, match="graph"):
        holds('childOf(concept == v1:ops:job; id == "j1")')


async def run(text: str, answers: Mapping[str, Any], **members: Any) -> tuple[Any, list[Invocation]]:
    asked: list[Invocation] = []

    async def invoke(invocation: Invocation) -> Any:
        asked.append(invocation)
        return answers.get(invocation.target)

    compiled = compile_expr(parse_expr(text), SCOPE, CATALOG, mode="logic")
    return await compiled.run(env(**members), invoke), asked


async def test_calls_are_made_left_to_right_and_only_when_needed() -> None:
    result, asked = await run("queryJobs({a: 1}).Len() == 0 && send({b: 2}) == 1", {"queryJobs": [1]})
    assert result is False
    assert [(one.target, one.args) for one in asked] == [("queryJobs", {"a": 1})]
    result, asked = await run("[queryJobs(), send(x: 1)]", {"queryJobs": [], "send": 7})
    assert result == [[], 7]
    assert [one.args for one in asked] == [{}, {"x": 1}]
    result, asked = await run("args.a ? queryJobs() : send()", {"send": 3})
    assert (result, len(asked)) == (3, 1)
    result, asked = await run("queryJobs() ?? send()", {"send": 3})
    assert (result, len(asked)) == (3, 2)


async def test_secrets_reach_builtins_only() -> None:
    _, asked = await run('send({key: secret("KEY")})', {})
    assert asked[0].args == {"key": "plain"}
    with pytest.raises(MemqlError, match="builtin"):
        await run('queryJobs({key: secret("KEY")})', {})


async def test_effects_of_policies_models_and_events_are_invocations() -> None:
    _, asked = await run('policy("canClose", {status: "open"})', {})
    assert asked == [Invocation("policy", "canClose", {"status": "open"})]
    _, asked = await run('si("summary", {t: 1}, "fast", 60)', {})
    assert asked == [Invocation("si", "summary", {"fields": {"t": 1}, "provider": "fast", "ttl": 60})]
    _, asked = await run('publishEvent({topic: "ops.swept", payload: {seen: 1}})', {})
    assert asked == [Invocation("publishEvent", "", {"topic": "ops.swept", "payload": {"seen": 1}})]
    with pytest.raises(MemqlError, match="topic"):
        await run("publishEvent({payload: {}})", {})


async def test_context_specs_answer_for_the_actor() -> None:
    result, asked = await run('spec("requiresAdmin") || actor.role == "writer"', {})
    assert (result, asked) == (True, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs.Len()", 2),
        ("jobs.Count()", 2),
        ("jobs.First().id", "1"),
        ("jobs.First().title", "x"),
        ("jobs.last().payload.title", "y"),
        ("jobs.Nodes().1.title", "y"),
        ("jobs.Empty()", False),
        ("jobs.Ran()", True),
        ("skipped.Ran()", False),
        ("skipped.Empty()", True),
        ("skipped.Len()", 0),
        ("skipped.First()", None),
        ("skipped == null", True),
        ("skipped.anything", None),
        ("nothing.Ran()", False),
        ('event.payload.kind == "a"', True),
        ("steps.one.result.First().title", "x"),
    ],
)
async def test_accessors_and_members_of_bindings(text: str, expected: Any) -> None:
    jobs = [
        {"id": "1", "concept": "v1:ops:job", "payload": {"title": "x"}},
        {"id": "2", "concept": "v1:ops:job", "payload": {"title": "y"}},
    ]
    bindings = {
        "jobs": jobs,
        "skipped": NOT_RAN,
        "event": {"payload": {"kind": "a"}},
        "steps": {"one": {"result": jobs}},
    }
    result, _ = await run(text, {}, bindings=bindings)
    assert result == expected


async def test_bindings_of_a_known_concept_compare_date_times_as_moments() -> None:
    compiled = compile_expr(
        parse_expr("job.First().dueAt == other.First().payload.dueAt"),
        SCOPE,
        CATALOG,
        mode="logic",
        types=TypeScope(bindings={"job": JOB}),
    )
    bindings = {
        "job": [{"concept": "v1:ops:job", "payload": {"dueAt": "2026-03-05T00:00:00Z"}}],
        "other": [{"concept": "v1:ops:job", "payload": {"dueAt": "2026-03-05T01:00:00+01:00"}}],
    }
    assert compiled.evaluate(env(bindings=bindings)) is True


def test_expressions_that_nest_too_deeply_are_refused() -> None:
    expr: ast.Expr = ast.Literal(1)
    for _ in range(5000):
        expr = ast.Unary("-", expr)
    with pytest.raises(MemqlError, match="levels"):
        compile_expr(expr, SCOPE, CATALOG, mode="write")
