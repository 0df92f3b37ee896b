from __future__ import annotations

from textwrap import dedent

import pytest

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.formatter import format_ast, format_file, format_filter
from memql.lang.parser import parse_expr, parse_file, parse_filter, parse_request

# Canonical text: formatting must not change it.
CANONICAL = [
    """\
    use identity.concepts.{ user }

    /// A customer.
    /// Two lines.
    @displayCard(primary="name") @rowAuthz(owner="ownerUserId")
    concept customer {
      // the name
      name string @required @minLength(2)

      tier enum("basic", "gold") @default("basic")  // gold pays
      prefs { sms bool @default("true")  language string }
      nested {
        /// Documented.
        deep map(string, []int)!
        // last
      }
      ownerUserId string @required @immutable
      @relationship(type="references", field="ownerUserId", target=user)
      // end
    }
    """,
    """\
    trait active { payload.active == true }
    spec due { payload.status in ("open", "late") && payload.priority <= 2 }
    @row shape job card { row.id as key  payload.title  include other }

    // about the query
    @enabled
    @role("writer")
    query job jobs {
      args { customerId string!  status string @enum("open", "done") }
      filter payload.customerId == canonicalId(args.customerId, customer);
             // only when given
             ?.payload.status == args.status;  // optional
             when(args.before) { payload.dueAt < args.before; active }
      sort "payload.priority", "asc"
      paginate args.limit
      asOf latest
      shape card
    }
    """,
    """\
    @enabled
    mutation job create {
      args { title string!  priority int }
      insert {
        id: hash(args.title)
        args.title

        // the default
        priority: args.priority ?? 3
        "odd key": {
          // inside
          a: 1,  // one

          b: [1, 2],
        }
      }
    }

    @enabled mutation job drop { delete job { id: args.id  reason: "dropped" } }
    """,
    """\
    logic escalate {
      args { event object }
      body {
        grace := var("GRACE", "2")
        for item := range overdue.Nodes() {
          // lower it
          bump := if item.payload.priority > 1 { lower({ jobId: item.id }) }
          if a {
            b()
          } else if c {
            d()
          } else {
            // nothing to do
          }
        }
        return { seen: overdue.Len(), told: told.Ran() }
      }
    }
    """,
    """\
    @trigger(schedule="0 0 6 * * *")
    automation sweep {
      args { topic string }
      step one { logic escalate { event: event } }
      step two {
        // only when needed
        if event.payload.n > 1 { publishEvent { topic: "t" } }
      }
    }

    provider p { auth { key env("K")  org "o" }  params { n -1 } }
    policy routing { }
    policy decision { args { s string! }  return spec("admin") && args.s != "done" }
    builtin distance { origin string!  target string! }

    seed customer house {
      id: "house"
      prefs { sms: false }
      tags: [
        "a",
      ]
    }
    """,
]


def reformatted(text: str) -> str:
    """The canonical form, after checking what must hold for any text."""
    formatted = format_file(text)
    assert parse_file(formatted).file == parse_file(text).file
    assert format_file(formatted) == formatted
    comments = [comment.text.split() for comment in parse_file(text).comments]
    assert [comment.text.split() for comment in parse_file(formatted).comments] == comments
    return formatted


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text_stays_as_it_is(text: str) -> None:
    assert reformatted(dedent(text)) == dedent(text)


@pytest.mark.parametrize("text", CANONICAL)
def test_line_ends_of_windows_change_nothing(text: str) -> None:
    assert format_file(dedent(text).replace("\n", "\r\n")) == dedent(text)


@pytest.mark.parametrize("text", CANONICAL)
def test_a_tree_without_source_has_a_text(text: str) -> None:
    tree = parse_file(dedent(text)).file
    assert parse_file(format_ast(tree)).file == tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("concept   c{a  int b{c int}}", "concept c { a int  b { c int } }\n"),
        ("query job q{filter a&&b;c shape s}", "query job q { filter a; b; c  shape s }\n"),
        ("query job q{filter a,(b;c)}", "query job q { filter a || b && c }\n"),
        ("spec s{a;b}", "spec s { a && b }\n"),
        ("spec s{!(childOf(a&&b),c)}", "spec s { !(childOf(a; b) || c) }\n"),
        ("use a.b.{x,y as z,}", "use a.b.{ x, y as z }\n"),
        ("trait t{x in [1,2]}", "trait t { x in (1, 2) }\n"),
        ("trait t{x in []}", "trait t { x in [] }\n"),
        ("concept c { a array b number c map[string]bool }", "concept c { a []any  b float  c map(string, bool) }\n"),
        ("policy p { }", "policy p { }\n"),
        ("", ""),
        ("\n\n// only a note", "// only a note\n"),
        ("logic l{body{x:=a ?b:c -b}}", "logic l { body { x := a ? b : c - b } }\n"),
    ],
)
def test_one_style_for_what_can_be_written_in_many(text: str, expected: str) -> None:
    assert reformatted(text) == expected


def test_blank_lines_are_kept_one_at_a_time() -> None:
    text = "concept c {\n\n\n  a int\n\n\n\n  b int\n\n}\n\n\n\npolicy p { }\npolicy q { }\n"
    assert reformatted(text) == "concept c {\n  a int\n\n  b int\n}\n\npolicy p { }\npolicy q { }\n"


def test_what_does_not_fit_is_broken_one_thing_per_line() -> None:
    conditions = " && ".join(f"payload.someLongField{number} == true" for number in range(4))
    assert reformatted(f"spec s {{ {conditions} }}") == (
        "spec s {\n  payload.someLongField0 == true\n"
        + "".join(f"  && payload.someLongField{number} == true\n" for number in range(1, 4))
        + "}\n"
    )
    values = ", ".join(f"someLongKey{number}: args.someLongValue{number}" for number in range(5))
    assert reformatted(f"logic l {{ body {{ x := f({{ {values} }}) }} }}") == (
        "logic l {\n  body {\n    x := f({\n"
        + "".join(f"      someLongKey{number}: args.someLongValue{number},\n" for number in range(5))
        + "    })\n  }\n}\n"
    )
    long = "x" * 60
    assert reformatted(f"logic l {{ body {{ return {long} ? {long} : {long} }} }}") == (
        f"logic l {{\n  body {{\n    return {long}\n      ? {long}\n      : {long}\n  }}\n}}\n"
    )
    assert reformatted(f"use a.b.{{ {long}, y{long} }}") == f"use a.b.{{\n  {long},\n  y{long},\n}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "concept /* a */ c /* b */ { /* c */ f /* d */ int /* e */ } /* f */",
        "// a\n@x // b\n@y // c\nconcept c { // d\n f int // e\n} // f\n// g",
        "query job q { filter a; // one\n b // two\n // three\n shape s }",
        "query job q { filter // one\n a; b }",
        "mutation job m { insert { a: f(1, // one\n 2) // two\n b: { /* c */ x: 1 } } }",
        "logic l { body { // a\n x := if a /* b */ { // c\n b() // d\n } /* e */ else { f() } // g\n return x } }",
        'provider p { auth { // a\n k "v" // b\n } params { // c\n n 1 // d\n } } // e',
        "automation a { step s { // one\n if x { // two\n logic y { z: 1 } // three\n } } }",
        "seed a b { k: [ // one\n 1, 2 // two\n ] // three\n g { // four\n h: 1 } }",
        "use a.b.{ x, // one\n y }\n/* two\n   three */\nshape s { row.id // four\n }",
        "/// doc\n// between\n@a /// more\nconcept c { f int\n/// lost\n}",
        "policy p { // inside\n }",
    ],
)
def test_comments_survive_wherever_they_stand(text: str) -> None:
    reformatted(text)


@pytest.mark.parametrize(
    "text",
    [
        "a && (b || c) && !(d && e)",
        "(a || b) || c",
        "-(1)",
        "-(-a)",
        "- -1",
        "(-1).a",
        "(1).0",
        "(a ? b : c) ? d : (e ? f : g)",
        "(a == b) == (c < d)",
        "(a + b) * c - (d - e)",
        "a ?? (b ?? c)",
        "(a ?? b) + c",
        'f(a)(b)[0].c.0["x"]',
        'f("true": 1, "b c": 2, d: 3)',
        '{ "true": 1, a: {}, b: [] }',
        r'"\"\\\n\u0001é"',
        "1e+30 - 0.5",
        "$a.b",
        "v1:a:b",
        "x in (1, null, true)",
        "x not in y.z",
        "[1, [2], { a: 3 }]",
    ],
)
def test_expressions_keep_their_meaning_with_the_fewest_brackets(text: str) -> None:
    tree = parse_expr(text)
    written = format_ast(tree)
    assert parse_expr(written) == tree
    assert len(written) <= len(text) + 6


def test_a_filter_fits_on_one_line() -> None:
    tree = parse_filter("a; (b, ?.c == args.c); when(args.d) { e; f }; (g ? h : i) == 1")
    assert format_filter(tree) == "a && (b || ?.c == args.c) && when(args.d) { e; f } && (g ? h : i) == 1"
    assert parse_filter(format_filter(tree)) == tree


@pytest.mark.parametrize(
    "text",
    [
        "concept == v1:ops:job; payload.a == 1",
        'concept@cache(5)@fields("a", "b") == v1:ops:job; x @ "2026-01-01"',
        "concept@cache(0) == v1:ops:job @ latest",
        'paginate(sort(jobs({ a: 1 }), "a", "asc"), 2)',
        "late := payload.dueAt < now; x\n(-a == b)",
        'insert("v1:a:b", id="x", payload={ a: [1] })',
        'update("v1:a:b", id="x", payload=$p, ifVersion=2)',
        'delete("v1:a:b", id="x")',
        "asOf(childOf(a; b) || c, latest)",
    ],
)
def test_requests_have_a_text_too(text: str) -> None:
    assert format_ast(parse_request(text)) == text


def test_statements_and_blocks_have_a_text() -> None:
    block = ast.Block((ast.AssignStmt("x", ast.Name("a")), ast.ExprStmt(ast.Unary("-", ast.Name("b")))))
    assert format_ast(block) == "{\n  x := a\n  (-b)\n}"
    assert format_ast(block.statements[0]) == "x := a"


def test_a_text_that_does_not_parse_is_refused() -> None:
    with pytest.raises(MemqlError) as caught:
        format_file("concept c {\n  name }")
    assert caught.value.code is Code.SYNTAX_ERROR
    assert caught.value.position == 19
    assert caught.value.context == "  name }\n       ^"
