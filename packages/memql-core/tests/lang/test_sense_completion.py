"""What may stand at a cursor, in whole and in broken text. ``^`` marks the cursor."""

from __future__ import annotations

from pathlib import Path

import pytest

from memql.lang.catalog import Catalog
from memql.lang.loader import load_tree, read_sources
from memql.lang.sense import Completion, complete

AIRLINE = Path(__file__).parents[4] / "examples" / "airline" / "tree"
FILE = "airline/new.memql"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_tree(read_sources([AIRLINE])).require()


def at_cursor(marked: str) -> tuple[str, int, int]:
    before, _, after = marked.partition("^")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def completions(marked: str, catalog: Catalog, path: str = FILE) -> dict[str, Completion]:
    return {item.label: item for item in complete(*at_cursor(marked), path, catalog)}


@pytest.mark.parametrize(
    ("marked", "expected", "absent"),
    [
        pytest.param("^", {"concept", "query", "use"}, {"filter", "airport"}, id="an empty file"),
        pytest.param("query ^", {"airport", "trip"}, {"query"}, id="the concept of a query"),
        pytest.param("query airport ^", set(), {"airport", "filter"}, id="a name that is made up"),
        pytest.param("use ^", {"airline", "common"}, {"concepts"}, id="a namespace"),
        pytest.param("use airline.^", {"concepts", "queries", "logic"}, {"airline"}, id="a module"),
        pytest.param("use airline.concepts.{ ^", {"airport", "trip"}, {"queryHubs"}, id="a symbol"),
        pytest.param(
            "@^\nquery airport q { }", {"enabled", "cache"}, {"index", "trigger"}, id="annotations of a query"
        ),
        pytest.param(
            "@^\nautomation a { }", {"trigger", "retry"}, {"public", "cache"}, id="annotations of an automation"
        ),
        pytest.param("concept a { b string @^ }", {"index", "secret", "relationship"}, {"enabled"}, id="of a field"),
        pytest.param("query airport q { args { a int @^ } }", {"minimum", "enum"}, {"index"}, id="of an argument"),
        pytest.param("concept a { @^ }", {"version", "rowAuthz"}, {"index"}, id="of a concept, inside"),
        pytest.param("concept a { b ^ }", {"string", "datetime", "enum"}, {"filter"}, id="the type of a field"),
        pytest.param("query airport q { args { a ^", {"string", "[]"}, {"filter"}, id="the type of an argument"),
        pytest.param("query airport q { ^ }", {"filter", "sort", "count"}, {"insert"}, id="the clauses of a query"),
        pytest.param("mutation trip m { ^ }", {"args", "insert", "delete"}, {"sort"}, id="the clauses of a mutation"),
        pytest.param("query airport q { count ^ }", {"filter"}, {"count"}, id="the clauses that are left"),
        pytest.param(
            "query airport q { filter ^ }",
            {"payload", "specHub", "createdAt", "childOf", "coalesce"},
            {"newId", "queryHubs"},
            id="the terms of a filter",
        ),
        pytest.param("query airport q { filter specHub ^ }", {"sort", "startsWith"}, {"payload"}, id="after a term"),
        pytest.param("query airport q { filter ?.payload.^", {"city"}, {"title"}, id="an optional term"),
        pytest.param("query airport q { filter payload.location.^", {"latitude"}, {"city"}, id="a nested field"),
        pytest.param("query disruption q { filter payload.detail.^", {"minutes", "reason"}, {"kind"}, id="a variant"),
        pytest.param("query airport q { args { near string } filter id == args.^", {"near"}, {"id"}, id="an argument"),
        pytest.param("query airport q { filter actor.^", {"userId", "role"}, {"email"}, id="the actor"),
        pytest.param("query airport q { filter actor.config.^", {"region"}, {"role"}, id="configuration"),
        pytest.param("query airport q { shape ^ }", {"airportCard"}, {"specHub"}, id="a shape"),
        pytest.param('query airport q { sort "payload.^" }', {"city"}, {"asc"}, id="a field to sort by"),
        pytest.param('query airport q { sort "payload.city", "^" }', {"asc", "desc"}, {"city"}, id="a direction"),
        pytest.param("query airport q { filter id == canonicalId(1, ^", {"airport"}, set(), id="a concept argument"),
        pytest.param("@row shape airport s { payload.^ }", {"city"}, {"id"}, id="the fields of a shape"),
        pytest.param("@row shape airport s { row.^ }", {"id", "createdAt"}, {"city"}, id="the intrinsics of a shape"),
        pytest.param("@row shape airport s { include ^ }", {"airportCard"}, {"row"}, id="an included shape"),
        pytest.param(
            "mutation trip m { insert { title: 1\n ^ } }",
            {"routeIds", "id", "args"},
            {"title", "city"},
            id="write keys",
        ),
        pytest.param(
            "mutation trip m { insert { id: ^ } }", {"newId", "actor"}, {"routeIds", "si"}, id="a written value"
        ),
        pytest.param("mutation trip m { delete { ^ } }", {"id", "reason"}, {"title"}, id="the keys of a delete"),
        pytest.param(
            "mutation disruption m { insert { detail: { ^ } } }",
            {"minutes"},
            {"detail"},
            id="the keys of a nested value",
        ),
        pytest.param("seed carrier s { ^ }", {"code", "name", "id"}, {"city"}, id="the keys of a seed"),
        pytest.param("logic l { ^ }", {"args", "body"}, {"filter"}, id="the parts of a logic"),
        pytest.param(
            "logic l { args { a int } body { ^ } }",
            {"queryHubs", "mutationPlanTrip", "if", "return", "args"},
            {"payload"},
            id="a statement",
        ),
        pytest.param("logic l { body { a := queryHubs({})\n b := ^ } }", {"a", "len", "if"}, {"return"}, id="a value"),
        pytest.param("logic l { body { a := queryHubs({})\n a.^ } }", {"First", "Empty"}, {"city"}, id="a result set"),
        pytest.param("logic l { body { a := queryHubs({})\n a.First().^ } }", {"city", "id"}, {"First"}, id="a row"),
        pytest.param(
            "logic l { body { a := queryHubs({})\n b := a.First().location\n b.^ } }",
            {"latitude"},
            {"city"},
            id="a path into a row",
        ),
        pytest.param(
            "logic l { body { a := queryHubs({})\n for x := range a.Nodes() { x.^ } } }",
            {"city", "id"},
            {"First"},
            id="an element",
        ),
        pytest.param("logic l { body { queryDepartures({ ^ }) } }", {"airport", "carrier"}, {"city"}, id="call keys"),
        pytest.param(
            "logic l { body { queryDepartures({ airport: 1, ^ }) } }",
            {"carrier", "to"},
            {"airport"},
            id="keys that are left",
        ),
        pytest.param('logic l { body { x := si("^") } }', {"disruptionNotice"}, {"queryHubs"}, id="a prompt"),
        pytest.param("automation a { step s { ^ } }", {"logic", "publishEvent", "if"}, {"body"}, id="an action"),
        pytest.param("automation a { step s { logic ^ } }", {"logicDistance"}, {"queryHubs"}, id="a target"),
        pytest.param("automation a { step s { logic distance { ^ } } }", {"from", "to"}, {"event"}, id="its arguments"),
        pytest.param(
            "automation a { step s { logic distance { from: event.^ } } }", {"topic"}, {"city"}, id="the event"
        ),
        pytest.param(
            "automation a { step one { logic x {} } step two { logic distance { from: steps.^ } } }",
            {"one"},
            {"from"},
            id="the steps",
        ),
        pytest.param(
            '@trigger(event="node.created", concept=disruption)\n@filter(payload.^)\nautomation a { }',
            {"kind", "detail"},
            {"city"},
            id="the event of a trigger",
        ),
        pytest.param("@trigger(^)\nautomation a { }", {"event", "schedule"}, {"cron"}, id="an annotation's arguments"),
        pytest.param('@trigger(event="^")\nautomation a { }', {"node.created"}, {"event"}, id="an argument's value"),
        pytest.param(
            "@trigger(concept=^)\nautomation a { }", {"disruption"}, {"queryHubs"}, id="an argument's construct"
        ),
        pytest.param(
            '@displayCard(primary="^")\nconcept gate { letter string }',
            {"letter"},
            {"primary"},
            id="an argument's field",
        ),
        pytest.param("// payload.^", set(), {"city"}, id="a comment"),
    ],
)
def test_a_file_is_completed_with_what_may_stand_there(
    marked: str, expected: set[str], absent: set[str], catalog: Catalog
) -> None:
    found = completions(marked, catalog).keys()
    assert expected <= found
    assert not absent & found


@pytest.mark.parametrize(
    ("marked", "expected", "absent"),
    [
        pytest.param(
            "^", {"count", "queryHubs", "concept", "insert", "help"}, {"queryBookable", "filter"}, id="nothing"
        ),
        pytest.param("count(^", {"queryHubs", "sort", "concept"}, {"insert"}, id="a directive"),
        pytest.param("concept == ^", {"v1:airline:airport"}, {"payload"}, id="a concept"),
        pytest.param("concept == v1:airline:a^", {"v1:airline:airport"}, {"v1:identity:user"}, id="half an id"),
        pytest.param("concept == v1:airline:airport && payload.^", {"city"}, {"title"}, id="a field"),
        pytest.param("concept == v1:airline:airport ^", {"in", "has"}, {"payload"}, id="after a term"),
        pytest.param("queryDepartures({ ^ })", {"airport"}, {"city"}, id="the arguments of a call"),
        pytest.param('sort(concept == v1:airline:airport, "payload.^")', {"city"}, {"asc"}, id="a sort key"),
        pytest.param('shape(queryHubs(), "^")', {"airportCard"}, {"queryHubs"}, id="a shape"),
        pytest.param('insert("^")', {"v1:airline:airport"}, set(), id="the concept of a write"),
    ],
)
def test_a_request_is_completed_with_what_may_stand_there(
    marked: str, expected: set[str], absent: set[str], catalog: Catalog
) -> None:
    found = completions(marked, catalog, "").keys()
    assert expected <= found
    assert not absent & found


def test_a_completion_replaces_what_is_written_of_it(catalog: Catalog) -> None:
    item = completions("concept == v1:air^", catalog, "")["v1:airline:airport"]
    assert (item.span.column, item.span.end_column) == (12, 18)
    assert item.insert_text == "v1:airline:airport"


def test_what_begins_with_the_word_comes_before_what_holds_it(catalog: Catalog) -> None:
    found = complete(*at_cursor("query airport q { filter payload.i^ }"), FILE, catalog)
    assert [item.label for item in found][:1] == ["iata"]
    assert "city" in {item.label for item in found}
    assert list(found) == sorted(found, key=lambda item: (item.sort_priority, item.label))


def test_a_call_is_offered_as_a_snippet_with_its_required_arguments(catalog: Catalog) -> None:
    item = completions("queryDep^", catalog, "")["queryDepartures"]
    assert item.is_snippet
    assert item.insert_text == "queryDepartures({ airport: $1 })"
    assert item.detail == "query route queryDepartures(airport string!, carrier string, to string)"
    assert item.documentation.startswith("Routes that leave an airport")


def test_a_name_is_offered_plain_where_its_bracket_is_written(catalog: Catalog) -> None:
    item = completions("logic l { body { x := queryDep^({}) } }", catalog)["queryDepartures"]
    assert item.insert_text == "queryDepartures"


def test_what_is_not_imported_comes_later_and_says_what_to_import(catalog: Catalog) -> None:
    near = completions("query ^", catalog, "airline/new.memql")["airport"]
    far = completions("query ^", catalog, "elsewhere/new.memql")["airport"]
    assert near.sort_priority < far.sort_priority
    assert "use airline.concepts.{ airport }" in far.documentation
    imported = completions("use airline.concepts.{ airport }\nquery ^", catalog, "elsewhere/new.memql")["airport"]
    assert imported.sort_priority == near.sort_priority


def test_an_import_under_another_name_is_offered_by_that_name(catalog: Catalog) -> None:
    found = completions("use airline.concepts.{ airport as field }\nquery ^", catalog, "elsewhere/new.memql")
    assert found["field"].insert_text == "field"
    assert "airport" not in found


def test_what_the_text_itself_declares_is_offered(catalog: Catalog) -> None:
    text = "concept gate {\n  letter string!\n}\n\nquery gate queryGates {\n  filter payload.^\n"
    assert "letter" in completions(text, catalog)


def test_a_declaration_is_completed_whatever_is_broken_before_it(catalog: Catalog) -> None:
    text = "query airport queryBroken {\n  filter (payload.city == \n\nquery trip queryTrips {\n  filter payload.^\n}\n"
    found = completions(text, catalog)
    assert "title" in found
    assert "city" not in found


def test_a_file_is_known_by_any_path_that_ends_as_in_the_tree(catalog: Catalog) -> None:
    absolute = str(AIRLINE / "airline" / "new.memql")
    near = completions("query ^", catalog, absolute)["airport"]
    assert near.documentation == "An airport; its id is the three-letter IATA code."
