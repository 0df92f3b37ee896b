from __future__ import annotations

import pytest

from memql.errors import Code, MemqlError
from memql.lang import ast, parser
from memql.lang.parser import MAX_REQUEST_BYTES, parse_read, parse_request

JOB = ast.Compare("==", ast.Name("concept"), ast.ConceptRef("v1:ops:job"))
DONE = ast.Name("done")


def operation(text: str) -> object:
    return parse_request(text).operation


def refused(text: str) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        parse_request(text)
    assert caught.value.code is Code.SYNTAX_ERROR
    return caught.value


def literal(value: str | int) -> ast.Literal:
    return ast.Literal(value)


def test_a_filter_is_a_read_with_or_without_its_last_sign() -> None:
    expected = ast.FilterRead(ast.BoolOp("&&", (JOB, DONE)))
    assert operation("concept==v1:ops:job;done") == expected
    assert operation("concept==v1:ops:job;done;") == expected


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("jobs()", ast.Call(ast.Name("jobs"))),
        ("jobs({a: 1});", ast.Call(ast.Name("jobs"), (ast.ObjectExpr((("a", literal(1)),)),))),
        ('help("x")', ast.Call(ast.Name("help"), (literal("x"),))),
        ('concepts(["a*"])', ast.Call(ast.Name("concepts"), (ast.ListExpr((literal("a*"),)),))),
        ("jobs(a: 1, b: $b)", ast.Call(ast.Name("jobs"), named=(("a", literal(1)), ("b", ast.Var("b"))))),
    ],
)
def test_a_call_alone_is_a_call(text: str, call: ast.Call) -> None:
    assert operation(text) == ast.CallRead(call)


def test_a_call_in_a_comparison_is_a_filter() -> None:
    assert isinstance(operation("shortId(id) == 1"), ast.FilterRead)
    assert isinstance(operation("childOf(a)"), ast.FilterRead)


def test_a_read_may_be_dated() -> None:
    assert operation('concept==v1:ops:job @ "2026-01-01"') == ast.FilterRead(JOB, "2026-01-01")
    assert operation("concept==v1:ops:job @ latest;") == ast.FilterRead(JOB, "latest")
    assert operation('jobs() @ "t"') == operation('asOf(jobs(), "t")')


def test_directives_nest_and_separate_their_arguments_with_commas() -> None:
    read = operation('paginate(sort(concept==v1:ops:job;(done,done), "a", "asc"), 10, "c")')
    both = ast.BoolOp("||", (DONE, DONE))
    assert read == ast.DirectiveRead(
        "paginate",
        ast.DirectiveRead("sort", ast.FilterRead(ast.BoolOp("&&", (JOB, both))), (literal("a"), literal("asc"))),
        (literal(10), literal("c")),
    )
    assert operation("asOf(done || done, latest)") == ast.DirectiveRead(
        "asOf", ast.FilterRead(both), (ast.Name("latest"),)
    )


def test_a_template_is_an_expression() -> None:
    read = operation('shape(done, {g: match(case(node("a") == "x", 1), default(2)), c: contains({t: node("t")})})')
    assert isinstance(read, ast.DirectiveRead)
    (template,) = read.args
    assert isinstance(template, ast.ObjectExpr)
    assert template.entries[1][1] == ast.Call(
        ast.Name("contains"), (ast.ObjectExpr((("t", ast.Call(ast.Name("node"), (literal("t"),))),)),)
    )


def test_count_has_a_short_form() -> None:
    assert operation("count v1:ops:job") == operation("count(concept==v1:ops:job)")


def test_inline_specs_come_before_the_operation() -> None:
    request = parse_request("late := payload.dueAt < now\nmine := createdBy == actor.userId; late\nlate; mine")
    assert [name for name, _ in request.lets] == ["late", "mine"]
    assert request.operation == ast.FilterRead(ast.BoolOp("&&", (ast.Name("late"), ast.Name("mine"))))


def test_concept_takes_options_before_its_comparison() -> None:
    assert operation('concept@cache(60)@fields("a","b")==v1:ops:job') == ast.FilterRead(JOB, None, 60, ("a", "b"))
    assert operation('concept@cache(60)==v1:ops:job @ "t"') == ast.FilterRead(JOB, "t", 60, None)
    for wrong in ("cache(x: 1)", 'cache("a")', "cache(1)@cache(2)", "fields(1)"):
        assert "concept" in refused(f"concept@{wrong}==v1:ops:job").context


def test_writes_take_their_arguments_in_any_order() -> None:
    assert operation('insert("v1:a:b", payload={x: 1}, id="k")') == ast.InsertRequest(
        "v1:a:b", (("payload", ast.ObjectExpr((("x", literal(1)),))), ("id", literal("k")))
    )
    assert operation('update("v1:a:b", id="k", payload=$p, ifVersion=3);') == ast.UpdateRequest(
        "v1:a:b", (("id", literal("k")), ("payload", ast.Var("p")), ("ifVersion", literal(3)))
    )
    assert operation('delete("v1:a:b", id="k", reason="r")') == ast.DeleteRequest(
        "v1:a:b", (("id", literal("k")), ("reason", literal("r")))
    )


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("concept==v1:ops:job,id==1;done", 25, "`;` and `,` on one level"),
        ("concept = v1:ops:job", 8, "did you mean `==`?"),
        ('insert("v1:a:b", idd="k")', 17, "`idd` is no argument of `insert`"),
        ('insert("v1:a:b", id="k", id="l")', 25, "`id` is given twice"),
        ('update("v1:a:b", id="k")', 0, "`update` needs `payload=`"),
        ('delete("v1:a:b")', 0, "`delete` needs `id=`"),
        ("insert(v1:a:b)", 7, "expected a text in quotes"),
        ("done; sort(done)", 6, "`sort` is a directive"),
        ("f(paginate(done, 1))", 2, "`paginate` is a directive"),
        ("sort(sort(done))", 0, "stands around this read twice"),
        ("sort(done) == 1", 11, "found `==`"),
        ('jobs("a", "b")', 10, "`jobs` takes one argument here"),
        ("late := done", 12, "found the end of the text"),
        ("", 0, "expected a value"),
        ('done == "x', 8, "no closing"),
        ("f(a; b)", 3, "found `;`"),
    ],
)
def test_errors_say_where_and_what(text: str, position: int, said: str) -> None:
    error = refused(text)
    assert said in error.message
    assert error.position == position
    shown, caret = error.context.split("\n")
    assert shown == text
    assert caret.index("^") == position


def test_the_reason_and_the_suggestion_are_machine_readable() -> None:
    assert refused("a, b; c").details["reason"] == "filter-mixed"
    assert refused("done; count(done)").details["reason"] == "directive-in-body"
    assert refused("a = 1").suggestion == {"didYouMean": "=="}


def test_an_error_shows_its_line_of_many() -> None:
    error = refused("a := done\nb := == 2\na")
    assert (error.details["line"], error.details["column"]) == (2, 6)
    assert error.context == "b := == 2\n     ^^"


def test_a_text_that_comes_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = parse_request("again == 1")

    def fail(*_: object) -> None:
        raise AssertionError("parsed twice")

    monkeypatch.setattr(parser, "lex", fail)
    assert parse_request("again == 1") is first


def test_a_request_has_a_largest_size() -> None:
    assert "variables" in refused("x == " + '"' + "y" * MAX_REQUEST_BYTES + '"').message
    assert parse_request("x == " + '"' + "y" * (MAX_REQUEST_BYTES - 7) + '"')
    assert "larger" in refused("x == " + '"' + "é" * (MAX_REQUEST_BYTES // 2) + '"').message


def test_a_read_parses_alone() -> None:
    assert parse_read("count(done)") == ast.DirectiveRead("count", ast.FilterRead(DONE), ())
    with pytest.raises(MemqlError):
        parse_read('delete("v1:a:b", id="k")')
