"""Hovers, definitions, signatures and findings. ``^`` marks the cursor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memql.lang.ast import Span
from memql.lang.catalog import Catalog
from memql.lang.lexer import lex
from memql.lang.loader import Sources, load_tree
from memql.lang.sense import definition, diagnose, hover, signature_help, tokenize

FILE = "ops/new.memql"


@pytest.fixture(scope="module")
def catalog(ops_tree: Sources) -> Catalog:
    return load_tree(ops_tree).require()


def at_cursor(marked: str) -> tuple[str, int, int]:
    before, _, after = marked.partition("^")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        pytest.param("query j^ob queryX { }", ["concept job", "A piece of work", "id `v1:ops:job`"], id="a concept"),
        pytest.param(
            "query job queryX { filter payload.ti^tle == 1 }", ["title string! @maxLength(120)"], id="a field"
        ),
        pytest.param(
            "query visit queryX { filter payload.detail.mi^nutes == 1 }", ["minutes int!"], id="a branch's field"
        ),
        pytest.param(
            "query job queryX { args { a int! } filter id == args.^a }", ["a int!", "argument"], id="an argument"
        ),
        pytest.param("@en^abled query job queryX { }", ["@enabled", "Registers it"], id="an annotation"),
        pytest.param(
            "query job queryX { filter id == sho^rtId(id) }", ["shortId(v)", "stands in filters"], id="a function"
        ),
        pytest.param("query job queryX { filter actor.ro^le == 1 }", ["role", "guest"], id="a field of the actor"),
        pytest.param("query job queryX { fil^ter id == 1 }", ["filter", "Which rows"], id="a clause"),
        pytest.param("concept a { b date^time }", ["datetime", "date-time"], id="a type"),
        pytest.param('query job queryX { sort "payload.dueA^t" }', ["dueAt datetime"], id="a field in a string"),
    ],
)
def test_a_hover_tells_what_a_name_means(marked: str, expected: list[str], catalog: Catalog) -> None:
    found = hover(*at_cursor(marked), FILE, catalog)
    assert found is not None
    for part in expected:
        assert part in found.contents


def test_a_hover_over_a_call_tells_its_arguments_and_who_may_call_it(catalog: Catalog) -> None:
    name, query = next(iter(catalog.queries.items()))
    found = hover(f"{name}()", 1, 2, "", catalog)
    assert found is not None
    assert f"access: {query.access}" in found.contents
    assert f"{query.file}:" in found.contents
    assert (found.span.column, found.span.end_column) == (1, len(name) + 1)


@pytest.mark.parametrize(
    "marked", ["// que^ry", 'query job queryX { filter id == "n^one" }', "^", "query job queryX ^{ }"]
)
def test_nothing_is_told_where_nothing_has_a_meaning(marked: str, catalog: Catalog) -> None:
    assert hover(*at_cursor(marked), FILE, catalog) is None
    assert definition(*at_cursor(marked), FILE, catalog) == ()


def covered(span: Span, sources: Sources) -> str:
    return (sources.text(span.file) or "")[span.start : span.end]


@pytest.mark.parametrize(
    ("marked", "kind", "file", "name"),
    [
        ("query j^ob queryX { }", "concept", "ops/concepts.memql", "job"),
        ("query job queryX { filter payload.ti^tle == 1 }", "field", "ops/concepts.memql", "title"),
        ("concept a { o string @relationship(target=cus^tomer) }", "concept", "ops/concepts.memql", "customer"),
        ("use ops.concepts.{ jo^b }", "concept", "ops/concepts.memql", "job"),
        ("use ops.concepts.{ job as work }\nquery wo^rk queryX { }", "concept", "ops/concepts.memql", "job"),
        ("automation a { step s { logic esca^late {} } }", "logic", "ops/logic.memql", "logicEscalate"),
    ],
)
def test_a_name_leads_to_its_declaration(marked: str, kind: str, file: str, name: str, catalog: Catalog) -> None:
    (target,) = definition(*at_cursor(marked), FILE, catalog)
    assert (target.kind, target.span.file) == (kind, file)
    assert covered(target.span, catalog.sources) == name


def test_names_of_the_same_text_lead_into_it(catalog: Catalog) -> None:
    text = "logic logicX {\n  args { near string }\n  body {\n    hit := 1\n    return concat(args.near, hit)\n  }\n}\n"
    for name, kind, line in (("near", "argument", 2), ("hit", "binding", 4)):
        column = text.split("\n")[4].index(name) + 1
        (target,) = definition(text, 5, column, FILE, catalog)
        assert (target.kind, target.span.line, target.span.file) == (kind, line, FILE)
        assert text[target.span.start : target.span.end] == name


def test_every_reference_of_a_sound_tree_means_something(ops_tree: Sources, catalog: Catalog) -> None:
    text = ops_tree.files["ops/queries.memql"]
    for token in lex(text).tokens:
        if token.kind == "IDENT":
            line = text.count("\n", 0, token.start) + 1
            column = token.start - text.rfind("\n", 0, token.start)
            assert hover(text, line, column, "ops/queries.memql", catalog), (line, token.value)


@pytest.mark.parametrize(
    ("marked", "label", "parameter"),
    [
        ("logic l { body { x := addDuration(now, ^) } }", "addDuration(t, d)", "d"),
        ("logic l { body { x := concat(1, 2, 3, ^", "concat(a, ..)", ".."),
        ('logic l { body { x := si("p", {a: 1}, ^', 'si("prompt", {..}[, "provider"][, ttl])', '"provider"'),
        ("concept a { b int @default(^) }", "@default(value)", "value"),
        ('@cache(ttl="^")\nquery job q { }', '@cache(ttl="30s")', 'ttl="30s"'),
        ("query job q { filter childOf(^", "childOf(filter)", "filter"),
    ],
)
def test_a_signature_shows_the_parameter_being_written(
    marked: str, label: str, parameter: str, catalog: Catalog
) -> None:
    found = signature_help(*at_cursor(marked), FILE, catalog)
    assert found is not None
    signature = found.signatures[found.active_signature]
    assert signature.label == label
    assert signature.parameters[found.active_parameter].label == parameter


def test_the_signature_of_a_construct_follows_the_keys(ops_tree: Sources) -> None:
    text = "query job queryPair {\n  args { one string! two int }\n}\n"
    sources = ops_tree.over(Sources({"ops/pair.memql": f"@enabled @public\n{text}"}))
    catalog = load_tree(sources).require()
    for marked, active in (("queryPair({ ^", 0), ("queryPair({ two: ^ })", 1), ("queryPair({ one: 1, ^", 1)):
        found = signature_help(*at_cursor(marked), "", catalog)
        assert found is not None
        assert found.signatures[0].label == "queryPair(one string!, two int)"
        assert found.active_parameter == active


def test_outside_a_call_there_is_no_signature(catalog: Catalog) -> None:
    assert signature_help(*at_cursor("query job q { ^ }"), FILE, catalog) is None


def test_a_file_is_diagnosed_as_part_of_the_tree(catalog: Catalog) -> None:
    found = diagnose("query job queryX {\n  filter payload.nothing == 1\n}\n", FILE, catalog)
    assert [(one.code, one.span.line) for one in found if one.code == "unknown-field"] == [("unknown-field", 2)]
    assert {one.span.file for one in found} == {FILE}


def test_a_sound_file_of_the_tree_has_no_findings(catalog: Catalog) -> None:
    for path, text in catalog.sources.files.items():
        assert diagnose(text, path, catalog) == ()


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("count(", "syntax", 7),
        ("concept == v1:ops:jobb", "unresolved", 12),
        ("count(queryNobody())", "unknown-function", 7),
        ("concept == v1:ops:job && id == 1 || id == 2, id == 3", "filter-mixed", 44),
    ],
)
def test_a_request_is_diagnosed_by_itself(text: str, code: str, column: int, catalog: Catalog) -> None:
    (found,) = diagnose(text, "", catalog)
    assert (found.severity, found.code, found.span.column) == ("error", code, column)
    assert "column" not in found.message


@pytest.mark.parametrize("text", ["", "  \n", "count(concept == v1:ops:job)", "concepts()", "id == $one"])
def test_a_sound_request_has_no_findings(text: str, catalog: Catalog) -> None:
    assert diagnose(text, "", catalog) == ()


def test_a_call_of_something_deprecated_is_a_warning(catalog: Catalog) -> None:
    name, query = next(iter(catalog.queries.items()))
    old = replace(query, annotations=replace(query.annotations, deprecated="use another"))
    (found,) = diagnose(f"{name}()", "", replace(catalog, queries={**catalog.queries, name: old}))
    assert (found.severity, found.code) == ("warning", "deprecated")


def test_tokens_have_the_types_an_editor_colours_by() -> None:
    source = '/// doc\n@enabled query job q { filter id == "a" && n >= 1.5 /* c */ } v1:ops:job $x'
    found = [(token.type, token.literal) for token in tokenize(source)]
    assert found == [
        ("comment", "/// doc"), ("annotation", "@enabled"), ("keyword", "query"), ("identifier", "job"),
        ("identifier", "q"), ("punctuation", "{"), ("keyword", "filter"), ("identifier", "id"), ("operator", "=="),
        ("string", '"a"'), ("operator", "&&"), ("identifier", "n"), ("operator", ">="), ("number", "1.5"),
        ("comment", "/* c */"), ("punctuation", "}"), ("concept", "v1:ops:job"), ("identifier", "$x"),
    ]  # fmt: skip


def test_tokens_of_broken_text_have_the_nearest_type() -> None:
    found = [(token.type, token.literal) for token in tokenize('"open\n/* never closed')]
    assert found == [("string", '"open'), ("comment", "/* never closed")]
