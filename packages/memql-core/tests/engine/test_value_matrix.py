"""One matrix for both evaluators: what a filter means in SQL is what it means in process (spec "Values and operators").

Every case runs against stored rows through the reader, and against the same rows through the in-process evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from memql.auth import system
from memql.engine.context import RequestContext
from memql.engine.read import GraphReader, Listings
from memql.engine.read.cursors import CursorCodec
from memql.engine.read.directives import CURSOR, continued, take_apart
from memql.engine.result import Result
from memql.engine.values import Env, TypeScope, compile_filter
from memql.errors import Code, MemqlError
from memql.graph.bulk import copy_versions
from memql.graph.database import Database
from memql.graph.log import NewVersion
from memql.lang import ast
from memql.lang.catalog import Catalog, Scope
from memql.lang.loader import Sources, load_tree, read_sources
from memql.lang.parser import parse_filter, parse_request

pytestmark = pytest.mark.anyio

CONCEPT = "v1:lab:cell"
TREE = """
@rowAuthz(public)
concept cell {
  word string
  when datetime
  number int
  flag bool
  words []string
  free any
  other any
  open object
  id2 string
  @relationship(type="references", field="id2", target=cell)
}
"""
"""
The fields: declared ones hold values of their type or, as rows of an older schema may, of any other.
"""

ROWS: tuple[dict[str, Any], ...] = (
    {},
    {"word": "alpha", "number": 1, "flag": True, "free": 1, "other": 1.0, "words": ["alpha", "beta"]},
    {"word": "beta", "number": 2, "flag": False, "free": "1", "other": 1, "words": []},
    {"word": "", "number": 0, "free": "", "other": "x", "words": ["x"]},
    {"word": "  ", "number": -3, "free": "  ", "other": False},
    {"word": "Alpha", "number": 2.5, "free": True, "other": "true"},
    {"word": "älpha", "number": 9007199254740993, "free": "älpha", "other": "z"},
    {"word": "alpha beta gamma", "free": [1, 2, "three"], "other": 2},
    {"free": [1.0, None, {"a": 1}], "other": {"a": 1}, "open": {"a": {"b": [10, 20, {"c": "deep"}]}}},
    {"free": {"a": 1, "b": [1, 2]}, "other": {"b": [1, 2], "a": 1.0}, "open": {"a": {"b": "text"}}},
    {"when": "2026-03-05T00:00:00Z", "free": "2026-03-05T01:00:00+01:00", "other": "2026-03-05T00:00:00.000Z"},
    {"when": "2026-03-05T02:00:00+02:00", "free": 5, "other": "2026-03-06"},
    {"when": "2026-03-05T00:00:00.5Z", "other": 0.1, "free": 0.2},
    {"when": "no date", "free": "no date", "other": "no date"},
    {"when": "2026-02-30T00:00:00Z", "free": 0, "other": 0},
    {"word": 5, "number": "5", "flag": "true", "when": 17, "free": 5, "other": "5"},
    {"word": {"a": 1}, "number": {"b": 1}, "flag": 1, "words": "alpha", "free": -7, "other": 2},
    {"word": "quote\" back\\slash 'single' $1 %s ?", "free": "quote\" back\\slash 'single' $1 %s ?"},
    {"number": 9223372036854775807, "free": 9223372036854775807, "other": 1},
    {"number": 7, "free": 7, "other": -2, "words": ["7", "seven"], "flag": True},
    {"word": "🙂", "free": "🙂x", "other": "🙂", "words": ["🙂"]},
    {"id2": "v1:lab:cell:c1", "word": "one"},
    {"free": [], "other": [], "words": ["alpha", "alpha"]},
    {"free": [[1]], "other": [1]},
)

FILTERS = (
    # equality: type-strict, deep, null only equal to null
    "payload.number == 1", "payload.number == 1.0", 'payload.number == "1"', "payload.free == 1",
    'payload.free == "1"',
    "payload.free == true", "payload.flag == true", "payload.flag != true", "payload.flag == false", "payload.flag",
    "!payload.flag", 'payload.word == "alpha"', 'payload.word != "alpha"', 'payload.word == ""', "payload.word == 5",
    'payload.number == "5"', "payload.word == nil", "payload.word != null", "payload.open.a.b == nil",
    "payload.free == payload.other", "payload.free != payload.other", "payload.word == payload.free",
    "payload.free == [1, 2, \"three\"]", 'payload.free == {a: 1, b: [1, 2]}', "payload.free == []",
    'payload.open.a.b[2].c == "deep"', "payload.open.a.b.1 == 20", "payload.free[0] == 1", "payload.free[1] == nil",
    'payload.word == "quote\\" back\\\\slash \'single\' $1 %s ?"', 'payload.word == "🙂"',
    "payload.number == 9007199254740993", "payload.number == 9007199254740992",
    # order: numbers, texts by code point, moments; null and mixed are false
    "payload.number > 1", "payload.number >= 2.5", "payload.number < 0", "payload.number <= 2",
    'payload.word < "b"', 'payload.word >= "alpha"', 'payload.word > "z"', 'payload.word < "Z"', "payload.word < 6",
    'payload.number < "9"', "payload.free < payload.other", "payload.free >= payload.other", "!(payload.free < 3)",
    "payload.free < true", "payload.free > nil", 'payload.word <= payload.free',
    # moments
    'payload.when == "2026-03-05T00:00:00Z"', 'payload.when != "2026-03-05T00:00:00Z"',
    'payload.when == "2026-03-05T01:00:00+01:00"', 'payload.when < "2026-03-05T00:00:01Z"', "payload.when < now",
    'payload.when >= "2026-03-05"', 'payload.when == "no date"', 'payload.when < "zzz"', "payload.when == 17",
    "payload.when < 20", "payload.when == payload.free", "payload.when < payload.other", "payload.free == now",
    'payload.when in ("2026-03-05", "no date")', 'payload.free == "2026-03-05T00:00:00Z"', "payload.when == nil",
    'payload.when not in ("2026-03-05T00:00:00Z", nil)', 'createdAt > "2020-01-01"', "createdAt < now",
    'addDuration(now, "-P1D") < payload.when', 'payload.when > addDuration("2026-03-01T00:00:00Z", "P1M")',
    # membership
    'payload.word in ("alpha", "beta")', 'payload.word not in ("alpha", "beta")', "payload.number in (1, 2)",
    'payload.free in (1, "1", true)', "payload.free in (1, nil)", "payload.free in []",
    'payload.words has "alpha"', 'payload.words has "x"', "payload.free has 1", "payload.free has 1.0",
    "payload.free has nil", "payload.free has {a: 1}", "payload.free has [1]", 'payload.free has "three"',
    '"alpha" in payload.words', "1 in payload.free", 'payload.word in payload.words', "payload.other in payload.free",
    'payload.free in ([1, 2, "three"], 5)', "[1, 99] in payload.free", "payload.free has payload.other",
    'payload.other in (payload.free, "z")', "payload.words has payload.word",
    '"alpha" in (payload.word, payload.free)',
    "payload.free not in payload.other", "nil in payload.free", 'payload.free in ({a: 1, b: [1, 2]}, "zz")',
    # texts
    'payload.word startsWith "al"', 'payload.word startsWith ""', 'payload.word startsWith "  "',
    '!(payload.word startsWith "al")', "payload.word startsWith payload.other", 'payload.free startsWith "🙂"',
    '"alphabet" startsWith payload.word', 'payload.word matches "beta"', 'payload.word matches "alpha gamma"',
    'payload.word matches "\\"alpha beta\\""', 'payload.word matches "alpha -beta"',
    'payload.word matches "alpha or zz"',
    '!(payload.word matches "alpha")', 'payload.free matches "beta"',
    # arithmetic on row data
    "payload.number + 1 == 3", "payload.number - 1 < 1", "payload.number * 2 == 4", "payload.number / 2 == 1",
    "payload.number / 2 == 0.5", "payload.number % 2 == 1", "payload.free % payload.other == 1",
    "payload.free / payload.other > 0", "10 / payload.number > 3",
    "payload.free + payload.other == 0.30000000000000004",
    'payload.word + "!" == "alpha!"', "payload.word + 1 == 2", "payload.number + payload.free == nil",
    "-payload.number == 3", "-payload.free < 0", "payload.free + 1 > 0", "payload.number * payload.number > 0",
    "!(payload.number / 0 == 1)", "payload.free - payload.other != 0",
    # fallbacks, choices, logic
    'payload.word ?? "none" == "none"', "payload.free ?? payload.other == 1",
    'payload.word ?? payload.free ?? "q" == "q"',
    "(payload.flag == true ? payload.number : payload.free) == 1", "payload.flag == (payload.number == 1)",
    'payload.number == 1 || payload.word == "beta"', 'payload.number > 0 && payload.word != "alpha"',
    '!(payload.number > 0 && payload.word != "alpha")', "!(payload.free < 3 || payload.flag)", "!!payload.flag",
    '(payload.free ?? "d") in ("d", 1)', "payload.open.a.b == payload.open.a.b", "true", "false",
    "payload.open.zz.y == nil",
    'payload.id2 == "c1"', 'payload.id2 in ("c1", "c2")', 'id == "c1"',
    'id in ("c1", "v1:lab:cell:c2")', 'id != "c1"',
    'id startsWith "v1:lab:cell:c1"', 'concept == "v1:lab:cell"', 'type == "object"', 'createdBy == "system:test"',
    "id == payload.id2", "createdBy < id", 'metadata.note == "n"', 'provenance.kind != "direct"',
    "payload.free[payload.number] == 2", 'payload.open["a"].b == "text"', "now > createdAt",
    "$x == payload.free", "payload.number in $xs", "payload.words has $s", "payload.word == $nothing",
    "payload.free == $object", "$xs has payload.number", "payload.free < $x + 1", "payload.word startsWith $s",
)  # fmt: skip

VARIABLES = {"x": 5, "xs": [1, 2, "alpha"], "s": "alpha", "nothing": None, "object": {"a": 1, "b": [1, 2]}}


@cache
def catalog() -> Catalog:
    return load_tree(read_sources().over(Sources({"lab/concepts.memql": TREE}))).require()


@pytest.fixture(scope="module")
def tree() -> Catalog:
    return catalog()


def context() -> RequestContext:
    return RequestContext(actor=system("system:test"), variables=VARIABLES)


def _versions(rows: Sequence[dict[str, Any]]) -> Iterator[NewVersion]:
    for number, payload in enumerate(rows):
        yield NewVersion(
            id=f"{CONCEPT}:c{number}",
            concept=CONCEPT,
            created_by="system:test",
            schema={},
            payload=payload,
            provenance={"kind": "direct"},
            metadata={"note": "n"},
        )


async def store(database: Database, rows: Sequence[dict[str, Any]]) -> None:
    await database.execute("DELETE FROM memory_heads")
    await database.execute("DELETE FROM memory_nodes")
    await database.run(lambda connection: copy_versions(connection, list(_versions(rows))))


async def stored_nodes(reader: GraphReader) -> list[dict[str, Any]]:
    everything = ast.Compare("==", ast.Name("concept"), ast.ConceptRef(CONCEPT))
    result = await reader.read(ast.FilterRead(everything), {}, context())
    nodes = result.decoded_nodes()
    for node in nodes:
        node.update(metadata={"note": "n"}, provenance={"kind": "direct"}, schema={})
    return nodes


def scoped(condition: ast.Expr) -> ast.FilterRead:
    concept = ast.Compare("==", ast.Name("concept"), ast.ConceptRef(CONCEPT))
    return ast.FilterRead(ast.BoolOp("&&", (concept, condition)))


async def in_sql(reader: GraphReader, condition: ast.Expr) -> set[str]:
    result = await reader.read(scoped(condition), {}, context())
    return {root.rpartition(":")[2] for root in result.root_ids}


def in_process(tree: Catalog, nodes: Sequence[dict[str, Any]], condition: ast.Expr) -> set[str]:
    types = TypeScope(tree.concepts[CONCEPT], {})
    compiled = compile_filter(condition, Scope(), tree, types=types)
    ctx = context()
    return {node["id"].rpartition(":")[2] for node in nodes if compiled.evaluate(Env.of(ctx, row=node)) is True}


async def test_sql_and_process_agree_on_every_case_of_the_matrix(database: Database, tree: Catalog) -> None:
    await store(database, ROWS)
    reader = GraphReader(database, lambda: tree, signing_key=b"x" * 32)
    nodes = await stored_nodes(reader)
    assert len(nodes) == len(ROWS)
    differing = []
    for text in FILTERS:
        condition = parse_filter(text)
        sql, process = await in_sql(reader, condition), in_process(tree, nodes, condition)
        if sql != process:
            differing.append((text, sorted(sql - process), sorted(process - sql)))
    assert differing == []


SORTS = (
    *(
        f'"{path}","{direction}"'
        for path in (
            "payload.word", "payload.when", "payload.number", "payload.flag", "payload.free", "payload.other",
            "payload.open.a.b", "payload.open.a.b.1", "payload.free.0", "payload.free.a", "payload.id2",
            "metadata.note", "id", "concept", "createdBy", "createdAt", "payload",
        )
        for direction in ("asc", "desc")
    ),
    '"payload.flag","asc","payload.number","desc","payload.word"',
    '"createdBy","asc","payload.free","desc"',
)  # fmt: skip

SELECTIONS = (
    '"payload.word"', '"payload"', '"payload.open.a.b.1","payload.open.a.b.2.c"', '"payload.open.*","payload.open.a"',
    '"createdAt","type"', '"payload.free.a","payload.free.b.0"', '"payload.words.0","payload.word","payload.word"',
    '"id"',
)  # fmt: skip

WHOLE = f"concept=={CONCEPT}"


async def read(reader: GraphReader, text: str, cursor: str = "") -> Result:
    operation = parse_request(text).operation
    assert isinstance(operation, ast.Read)
    return await reader.read(operation, {}, context(), cursor=cursor)


def listed(listings: Listings, rows: Result, text: str, cursor: str = "") -> Result:
    """A result of the rows with the directives of a text, as if a builtin had given them."""
    operation = parse_request(text).operation
    assert isinstance(operation, ast.Read)
    request, ctx = take_apart(operation), context()
    if cursor:
        request = continued(request, listings.max_results)
        ctx = replace(ctx, variables={**VARIABLES, CURSOR: cursor})
    listings.check(request)
    return listings.directed(rows, request, {}, ctx)


async def test_directives_mean_the_same_for_rows_and_for_what_a_builtin_gives(
    database: Database, tree: Catalog
) -> None:
    await store(database, ROWS)
    reader = GraphReader(database, lambda: tree, signing_key=b"x" * 32)
    listings = Listings(lambda: tree, CursorCodec(b"x" * 32), 10_000)
    nodes = await stored_nodes(reader)
    rows = Result(nodes=[encode(node) for node in nodes], roots=len(nodes))
    differing: list[tuple[str, Any, Any]] = []
    for keys in SORTS:
        sql = await read(reader, f"sort({WHOLE}, {keys})")
        process = listed(listings, rows, f"sort(anything(), {keys})")
        if sql.root_ids != process.root_ids or sql.meta != process.meta:
            differing.append((keys, sql.root_ids, process.root_ids))
        by_page: list[str] = []
        cursor = ""
        while not by_page or cursor:
            page = listed(listings, rows, f"paginate(sort(anything(), {keys}), 5)", cursor)
            by_page += page.root_ids
            cursor = page.meta.cursor
        assert by_page == process.root_ids
    for paths in SELECTIONS:
        in_order = f'sort(anything(), "id", "asc"), {paths}'
        sql = await read(reader, f"select({in_order.replace('anything()', WHOLE)})")
        process = listed(listings, rows, f"select({in_order})")
        if sql.decoded_nodes() != process.decoded_nodes():
            differing.append((paths, sql.decoded_nodes(), process.decoded_nodes()))
    assert differing == []
    assert listed(listings, rows, "count(anything())").decoded_data() == [len(ROWS)]
    assert (await read(reader, f"count({WHOLE})")).decoded_data() == [len(ROWS)]
    for wrong in ('"payload.wodr"', '"payload.words"', '"payload.open"', '"title"', '"createdAt.x"'):
        for text in (f"sort({WHOLE}, {wrong})", f"sort(anything(), {wrong})"):
            with pytest.raises(MemqlError) as caught:
                await read(reader, text) if WHOLE in text else listed(listings, rows, text)
            assert caught.value.code is Code.INVALID_ARGUMENT, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payload.number == 1.0", {"c1"}),
        ("payload.flag != true", {f"c{n}" for n in range(len(ROWS)) if ROWS[n].get("flag") is not True}),
        ('payload.when == "2026-03-05T00:00:00Z"', {"c10", "c11"}),
        ('payload.word > "z"', {"c6", "c20"}),
        ("payload.free has 1", {"c7", "c8"}),
        ("payload.number / 2 == 1", {"c2"}),
        ('payload.id2 == "c1"', {"c21"}),
    ],
)
async def test_the_matrix_is_anchored_to_outcomes(
    database: Database, tree: Catalog, text: str, expected: set[str]
) -> None:
    await store(database, ROWS)
    reader = GraphReader(database, lambda: tree, signing_key=b"x" * 32)
    assert await in_sql(reader, parse_filter(text)) == expected


async def test_a_filter_with_an_impossible_text_finds_nothing(database: Database, tree: Catalog) -> None:
    await store(database, ROWS)
    reader = GraphReader(database, lambda: tree, signing_key=b"x" * 32)
    for text in ("a\x00b", "\ud800"):
        literal = ast.Literal(text)
        word = ast.Member(ast.Name("payload"), "word")
        assert await in_sql(reader, ast.Compare("==", word, literal)) == set()
        assert await in_sql(reader, ast.Compare("in", word, ast.ListExpr((literal, ast.Literal("beta"))))) == {"c2"}
        assert len(await in_sql(reader, ast.Compare("!=", word, literal))) == len(ROWS)
        free, pair = ast.Member(ast.Name("payload"), "free"), ast.ListExpr((literal, ast.Literal("1")))
        assert await in_sql(reader, ast.Compare("in", free, pair)) == {"c2"}
        assert await in_sql(reader, ast.Compare("has", free, pair)) == set()
        assert await in_sql(reader, ast.Compare("==", free, pair)) == set()
        assert await in_sql(reader, ast.Compare("==", free, ast.ObjectExpr((("a", literal),)))) == set()


# --- random filters over random rows ---------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", " ", "a", "alpha", "b", "B", "ä", "1", "true", "2026-03-05", "2026-03-05T00:00:00Z"])
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0, -2.5, 1e15, 9007199254740993, 9223372036854775807]))
SCALARS = st.one_of(st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "free": VALUES,
        "other": VALUES,
        "open": st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2),
    },
)


def _path(*names: str | int) -> ast.Expr:
    expr: ast.Expr = ast.Name("payload")
    for name in names:
        expr = ast.Member(expr, name)
    return expr


PATHS = st.sampled_from(
    [_path("free"), _path("other"), _path("open", "a"), _path("open", "b", 0), _path("free", 0), _path("free", "a")]
)


def _literal(value: Any) -> ast.Expr:
    if isinstance(value, list):
        return ast.ListExpr(tuple(map(_literal, value)))
    if isinstance(value, dict):
        return ast.ObjectExpr(tuple((key, _literal(item)) for key, item in value.items()))
    return ast.Literal(value)


LITERALS = st.one_of(VALUES, st.none()).map(_literal)
OPERANDS = st.recursive(
    st.one_of(PATHS, LITERALS),
    lambda inner: st.one_of(
        st.builds(
            ast.BinaryOp, st.sampled_from(["+", "-", "*", "/", "%"]), PATHS, st.one_of(PATHS, NUMBERS.map(ast.Literal))
        ),
        st.builds(ast.BinaryOp, st.just("??"), PATHS, inner),
    ),
    max_leaves=3,
)
COMPARISONS = st.builds(
    ast.Compare,
    st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "has", "startsWith"]),
    st.one_of(PATHS, OPERANDS),
    OPERANDS,
)
CONDITIONS = st.recursive(
    st.one_of(COMPARISONS, PATHS),
    lambda inner: st.one_of(
        st.builds(ast.BoolOp, st.sampled_from(["&&", "||"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(ast.Unary, st.just("!"), inner),
    ),
    max_leaves=5,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(PAYLOADS, min_size=1, max_size=12), conditions=st.lists(CONDITIONS, min_size=1, max_size=12))
async def test_random_filters_select_the_same_random_rows_in_sql_and_in_process(
    database: Database, rows: list[dict[str, Any]], conditions: list[ast.Expr]
) -> None:
    tree = catalog()
    await store(database, rows)
    reader = GraphReader(database, lambda: tree, signing_key=b"x" * 32)
    nodes = await stored_nodes(reader)
    for condition in conditions:
        try:
            process = in_process(tree, nodes, condition)
        except MemqlError as error:
            # A part free of row data that cannot be evaluated fails alike, unless SQL decided without it.
            assert error.code is Code.INVALID_ARGUMENT
            continue
        try:
            sql = await in_sql(reader, condition)
        except MemqlError as error:
            assert error.code is Code.INVALID_ARGUMENT, error
            continue
        assert sql == process, (condition, rows)
