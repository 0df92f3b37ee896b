from __future__ import annotations

from textwrap import dedent

import pytest

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.lexer import MAX_DEPTH
from memql.lang.parser import MAX_FILE_BYTES, ParsedFile, ensure_parsed, parse_expr, parse_file, parse_filter


def file(text: str) -> ast.File:
    return ensure_parsed(parse_file(text), text).file


def decl(text: str) -> ast.Decl:
    (found,) = file(text).decls
    return found


def findings(text: str) -> list[tuple[str, int]]:
    return [(finding.code, finding.span.line) for finding in parse_file(text).findings]


def message(text: str) -> str:
    (finding,) = parse_file(text, "ops/x.memql").findings
    return str(finding)


def path(text: str) -> ast.Expr:
    first, *rest = text.split(".")
    expr: ast.Expr = ast.Name(first)
    for segment in rest:
        expr = ast.Member(expr, int(segment) if segment.isdigit() else segment)
    return expr


def text(value: str) -> ast.Literal:
    return ast.Literal(value)


# --- files and declarations ------------------------------------------------------------------------------------------


def test_annotations_before_the_first_import_belong_to_the_file() -> None:
    tree = file('@version("2.0.0") use a.b.{ x, y as z, } @enabled concept c { f int }')
    assert [note.name for note in tree.annotations] == ["version"]
    assert tree.uses == (ast.Use(("a", "b"), (ast.UseSymbol("x"), ast.UseSymbol("y", "z"))),)
    assert [note.name for note in tree.decls[0].annotations] == ["enabled"]


def test_without_imports_annotations_belong_to_the_declaration() -> None:
    tree = file('@version("2.0.0") concept c { f int }')
    assert tree.annotations == ()
    assert [note.name for note in tree.decls[0].annotations] == ["version"]


def test_annotation_arguments_are_literals_paths_and_lists() -> None:
    (note,) = decl('@x(a="s", -1, p.q, [1], {k: 2}, v1:a:b, flag,) concept c { f int }').annotations
    assert note.called
    assert [(arg.name, arg.value) for arg in note.args] == [
        ("a", text("s")),
        ("", ast.Literal(-1)),
        ("", path("p.q")),
        ("", ast.ListExpr((ast.Literal(1),))),
        ("", ast.ObjectExpr((("k", ast.Literal(2)),))),
        ("", ast.ConceptRef("v1:a:b")),
        ("", ast.Name("flag")),
    ]
    bare, empty = decl("@x @y() concept c { f int }").annotations
    assert (bare.called, empty.called) == (False, True)


def test_the_filter_annotation_holds_a_filter() -> None:
    (note,) = decl('@filter(payload.kind=="a"; ?.x == 1) automation a { }').annotations
    assert note.args[0].value == ast.BoolOp(
        "&&",
        (
            ast.Compare("==", path("payload.kind"), text("a")),
            ast.OptionalTerm(ast.Compare("==", ast.Name("x"), ast.Literal(1))),
        ),
    )


def test_types_and_their_synonyms() -> None:
    concept = decl(
        "concept c { a integer b number c boolean d array e array(int) f map g map(string, []any) h map[string]T"
        ' i [][]string j enum("x", "y") k map }'
    )
    assert isinstance(concept, ast.ConceptDecl)
    any_ = ast.ScalarType("any")
    assert [field.type for field in concept.fields] == [
        ast.ScalarType("int"),
        ast.ScalarType("float"),
        ast.ScalarType("bool"),
        ast.ListType(any_),
        ast.ListType(ast.ScalarType("int")),
        ast.MapType(any_),
        ast.MapType(ast.ListType(any_)),
        ast.MapType(ast.ScalarType("T")),
        ast.ListType(ast.ListType(ast.ScalarType("string"))),
        ast.EnumType(("x", "y")),
        ast.MapType(any_),
    ]


def test_fields_have_marks_annotations_blocks_and_documentation() -> None:
    concept = decl(
        """
        concept c {
          @relationship(type="parent")
          /// The name,
          /// on two lines.
          name string! @minLength(2)
          prefs { sms bool  deep { x int } } @relationship(type="child")
          detail object @variant(discriminator="k") { a { b int! } }
          last int @relationship(type="owns")
        }
        """
    )
    assert isinstance(concept, ast.ConceptDecl)
    assert len(concept.body_annotations) == 2
    name, prefs, detail, last = concept.fields
    assert (name.required, name.doc) == (True, "The name,\non two lines.")
    assert [note.name for note in name.annotations] == ["minLength"]
    assert prefs.type is None
    assert prefs.fields is not None
    assert prefs.fields[1].fields == (ast.FieldDecl("x", ast.ScalarType("int")),)
    assert detail.type == ast.ScalarType("object")
    assert detail.fields is not None
    assert [note.name for note in last.annotations] == ["relationship"]


@pytest.mark.parametrize("word", ["filter", "count", "query", "string", "map", "true", "in", "use", "args", "if"])
def test_keywords_are_free_as_names(word: str) -> None:
    concept = decl(f"concept {word} {{ {word} string  {word} {{ {word} int }} }}")
    assert concept.name == word
    assert parse_filter(f"payload.{word} == args.{word}") == ast.Compare(
        "==", path(f"payload.{word}"), path(f"args.{word}")
    )
    mutation = decl(f"mutation job m {{ insert {{ {word}: 1  args.{word} }} }}")
    assert isinstance(mutation, ast.MutationDecl)
    assert [entry.key for entry in mutation.writes[0].entries] == [word, word]


def test_documentation_stands_before_annotations_or_between_them() -> None:
    assert decl("/// One.\n@enabled\n/// Two.\nconcept c { f int }").doc == "One.\nTwo."


def test_documentation_of_nothing_is_a_comment() -> None:
    parsed = parse_file("concept c { f int\n /// trailing\n }\n/// end")
    assert parsed.findings == ()
    assert [comment.text for comment in parsed.comments] == ["/// trailing", "/// end"]


def test_shapes_may_be_bound_and_take_keys_and_includes() -> None:
    shape = decl("shape job card { row.id as key; payload.a.b, title include other }")
    assert shape == ast.ShapeDecl(
        name="card",
        concept="job",
        items=(
            ast.ShapePath(("row", "id"), "key"),
            ast.ShapePath(("payload", "a", "b")),
            ast.ShapePath(("title",)),
            ast.ShapeInclude("other"),
        ),
    )
    assert decl("shape card { actor.role }") == ast.ShapeDecl(
        name="card", concept=None, items=(ast.ShapePath(("actor", "role")),)
    )


def test_query_clauses_keep_their_order_and_repetitions() -> None:
    query = decl(
        'query job q { args { a int! } filter x; y; sort "a", "desc" paginate args.n paginate 5'
        " asOf latest asOf args.t count shape card filter z }"
    )
    assert isinstance(query, ast.QueryDecl)
    assert query.clauses == (
        ast.ArgsClause((ast.FieldDecl("a", ast.ScalarType("int"), True),)),
        ast.FilterClause(ast.BoolOp("&&", (ast.Name("x"), ast.Name("y")))),
        ast.SortClause(("a", "desc")),
        ast.PaginateClause(path("args.n")),
        ast.PaginateClause(ast.Literal(5)),
        ast.AsOfClause(None),
        ast.AsOfClause(path("args.t")),
        ast.CountClause(),
        ast.ShapeClause("card"),
        ast.FilterClause(ast.Name("z")),
    )


def test_a_filter_ends_at_the_next_clause_with_or_without_its_last_sign() -> None:
    one = decl("query job q { filter a; args.b == 1; shape card }")
    other = decl("query job q { filter a; args.b == 1 shape card }")
    assert one == other


def test_mutations_have_writes_with_entries_and_shorthands() -> None:
    mutation = decl('mutation job m { filter a update { id: args.id, args.x "a b": 1 } delete job { id: 1 } }')
    assert isinstance(mutation, ast.MutationDecl)
    assert mutation.clauses == (ast.FilterClause(ast.Name("a")),)
    assert mutation.writes == (
        ast.Write(
            "update",
            None,
            (
                ast.WriteEntry("id", path("args.id")),
                ast.WriteEntry("x", path("args.x"), shorthand=True),
                ast.WriteEntry("a b", ast.Literal(1)),
            ),
        ),
        ast.Write("delete", "job", (ast.WriteEntry("id", ast.Literal(1)),)),
    )


def test_bodies_have_assignments_branches_loops_and_returns() -> None:
    logic = decl(
        """
        logic l {
          args { event object }
          body {
            a := if x { f() } else if y { g() } else { h() }
            if z { k({ a: 1 }) }
            for item := range a.Nodes() { use(item: item) }
            g()
            return a.First()
          }
        }
        """
    )
    assert isinstance(logic, ast.LogicDecl)
    assign, branch, loop, call, result = logic.body.statements
    assert isinstance(assign, ast.AssignStmt)
    assert isinstance(assign.value, ast.IfExpr)
    assert isinstance(assign.value.otherwise, ast.IfExpr)
    assert isinstance(assign.value.otherwise.otherwise, ast.Block)
    assert isinstance(branch, ast.IfStmt)
    assert isinstance(loop, ast.ForStmt)
    assert loop.body.statements == (ast.ExprStmt(ast.Call(ast.Name("use"), named=(("item", ast.Name("item")),))),)
    assert call == ast.ExprStmt(ast.Call(ast.Name("g")))
    assert result == ast.ReturnStmt(ast.Call(path("a.First")))


def test_a_bracket_on_a_new_line_begins_a_new_statement() -> None:
    logic = decl("logic l { body { a := b\n(c)\n[d] return e } }")
    assert isinstance(logic, ast.LogicDecl)
    assert [type(stmt) for stmt in logic.body.statements] == [
        ast.AssignStmt,
        ast.ExprStmt,
        ast.ExprStmt,
        ast.ReturnStmt,
    ]


def test_steps_may_be_guarded_and_write_their_argument_in_three_ways() -> None:
    automation = decl(
        """
        automation a {
          step one { logic x { event: event } }
          step two { if event.payload.n > 1 { query y (event.payload, k: 1) } }
          step three { publishEvent({ topic: "t" }) }
          step four { builtin z () }
        }
        """
    )
    assert isinstance(automation, ast.AutomationDecl)
    one, two, three, four = automation.steps
    assert automation.args is None
    assert one.action == ast.Action("logic", "x", ast.ObjectExpr((("event", ast.Name("event")),)))
    assert two.test == ast.Compare(">", path("event.payload.n"), ast.Literal(1))
    assert two.action.argument.entries == (("payload", path("event.payload")), ("k", ast.Literal(1)))
    assert (three.action.kind, three.action.target) == ("publishEvent", "")
    assert four.action.argument == ast.ObjectExpr(())


def test_providers_policies_and_seeds() -> None:
    provider = decl('provider p { auth { key env("K") org "o" } params { n -1 list [1, 2] } }')
    assert isinstance(provider, ast.ProviderDecl)
    assert provider.auth == (("key", ast.EnvRef("K")), ("org", "o"))
    assert provider.params == (("n", ast.Literal(-1)), ("list", ast.ListExpr((ast.Literal(1), ast.Literal(2)))))
    assert decl("policy p { }") == ast.PolicyDecl(name="p", args=())
    policy = decl("policy p { args { a int } body { return true } }")
    assert isinstance(policy, ast.PolicyDecl)
    assert policy.body is not None
    seed = decl('seed customer s { id: "x", prefs { sms: false } tags: ["a"] }')
    assert isinstance(seed, ast.SeedDecl)
    assert [entry.key for entry in seed.body.entries] == ["id", "prefs", "tags"]
    assert seed.body.entries[1].value == ast.SeedBlock((ast.SeedEntry("sms", ast.Literal(False)),))


# --- expressions and filters -----------------------------------------------------------------------------------------


def test_operators_bind_from_calls_down_to_the_conditional() -> None:
    assert parse_expr("a ?? -b.c * 2 + 1 == x && !y || z ? p : q") == ast.Cond(
        ast.BoolOp(
            "||",
            (
                ast.BoolOp(
                    "&&",
                    (
                        ast.Compare(
                            "==",
                            ast.BinaryOp(
                                "??",
                                ast.Name("a"),
                                ast.BinaryOp(
                                    "+",
                                    ast.BinaryOp("*", ast.Unary("-", path("b.c")), ast.Literal(2)),
                                    ast.Literal(1),
                                ),
                            ),
                            ast.Name("x"),
                        ),
                        ast.Unary("!", ast.Name("y")),
                    ),
                ),
                ast.Name("z"),
            ),
        ),
        ast.Name("p"),
        ast.Name("q"),
    )


def test_arithmetic_groups_to_the_left_and_lists_stay_flat() -> None:
    assert parse_expr("a - b - c") == ast.BinaryOp("-", ast.BinaryOp("-", ast.Name("a"), ast.Name("b")), ast.Name("c"))
    names = tuple(map(ast.Name, "abc"))
    assert parse_expr("a && b && c") == ast.BoolOp("&&", names)
    assert parse_expr("(a && b) && c") == ast.BoolOp("&&", (ast.BoolOp("&&", names[:2]), names[2]))


def test_a_minus_before_digits_is_part_of_the_number() -> None:
    assert parse_expr("-1") == ast.Literal(-1)
    assert parse_expr("- 1.5") == ast.Literal(-1.5)
    assert parse_expr("-(1)") == ast.Unary("-", ast.Literal(1))
    assert parse_expr("- -1") == ast.Unary("-", ast.Literal(-1))
    assert parse_expr("a -1") == ast.BinaryOp("-", ast.Name("a"), ast.Literal(1))
    assert parse_expr("-a.0") == ast.Unary("-", path("a.0"))


def test_whole_numbers_have_64_bits() -> None:
    assert parse_expr("9223372036854775807") == ast.Literal(2**63 - 1)
    assert parse_expr("-9223372036854775808") == ast.Literal(-(2**63))
    for wrong in ("9223372036854775808", "-9223372036854775809", "a -9223372036854775808", "9" * 5000, "1e999"):
        with pytest.raises(MemqlError, match=r"64 bits|too large"):
            parse_expr(wrong)


def test_in_takes_a_bracketed_list_or_a_value() -> None:
    items = ast.ListExpr((text("a"), text("b")))
    assert parse_expr('x in ("a", "b")') == ast.Compare("in", ast.Name("x"), items)
    assert parse_expr('x not in ["a", "b"]') == ast.Compare("not in", ast.Name("x"), items)
    assert parse_expr("x in args.list") == ast.Compare("in", ast.Name("x"), path("args.list"))


def test_objects_take_names_texts_and_paths() -> None:
    assert parse_expr('{a: 1, "b c": 2, x.y.z, payload.tags.0,}') == ast.ObjectExpr(
        (("a", ast.Literal(1)), ("b c", ast.Literal(2)), ("z", path("x.y.z")), ("0", path("payload.tags.0")))
    )


def test_nil_is_null_and_literals_differ_by_type() -> None:
    assert parse_expr("nil") == parse_expr("null") == ast.Literal(None)
    assert parse_expr("1") != parse_expr("1.0")
    assert parse_expr("true") != parse_expr("1")


def test_comparisons_do_not_chain() -> None:
    with pytest.raises(MemqlError, match="found `<`"):
        parse_expr("a < b < c")


def test_signs_are_and_and_or() -> None:
    assert parse_filter("a; b && c") == ast.BoolOp("&&", tuple(map(ast.Name, "abc")))
    assert parse_filter("a, b || c") == ast.BoolOp("||", tuple(map(ast.Name, "abc")))
    assert parse_filter("a && b || c") == parse_expr("a && b || c")
    assert parse_filter("(a, b); c") == ast.BoolOp(
        "&&", (ast.BoolOp("||", (ast.Name("a"), ast.Name("b"))), ast.Name("c"))
    )


@pytest.mark.parametrize("mixed", ["a; b, c", "a; b || c", "a, b && c", "a && b, c", "a || b; c", "(a; b, c)"])
def test_signs_of_two_kinds_on_one_level_are_refused(mixed: str) -> None:
    with pytest.raises(MemqlError) as caught:
        parse_filter(mixed)
    assert caught.value.code is Code.SYNTAX_ERROR
    assert caught.value.details["reason"] == "filter-mixed"
    assert findings(f"spec s {{\n {mixed} }}") == [("filter-mixed", 2)]


def test_filters_have_optional_terms_guards_and_sets() -> None:
    assert parse_filter("!?.a == args.a; when(args.b.c) { x, y }; !childOf(p; q); contains(a)") == ast.BoolOp(
        "&&",
        (
            ast.Unary("!", ast.OptionalTerm(ast.Compare("==", ast.Name("a"), path("args.a")))),
            ast.When(("b", "c"), ast.BoolOp("||", (ast.Name("x"), ast.Name("y")))),
            ast.Unary("!", ast.Relation("childOf", ast.BoolOp("&&", (ast.Name("p"), ast.Name("q"))))),
            ast.Relation("contains", ast.Name("a")),
        ),
    )


def test_relationship_words_without_a_filter_around_them_are_functions_and_paths() -> None:
    assert parse_expr('contains(s, "x")') == ast.Call(ast.Name("contains"), (ast.Name("s"), text("x")))
    assert parse_filter("createdBy == actor.userId") == ast.Compare("==", ast.Name("createdBy"), path("actor.userId"))
    assert parse_filter('f(contains(s, "x"))') == ast.Call(
        ast.Name("f"), (ast.Call(ast.Name("contains"), (ast.Name("s"), text("x"))),)
    )


def test_brackets_in_filters_hold_filters_or_operands() -> None:
    assert parse_filter("(a + b) * 2 == c") == parse_expr("(a + b) * 2 == c")
    assert parse_filter("(a ? b : c) == d") == parse_expr("(a ? b : c) == d")
    assert parse_filter("!(a && b) == c") == parse_expr("!(a && b) == c")
    with pytest.raises(MemqlError, match="inside an operand"):
        parse_filter("(a; b) == c")
    with pytest.raises(MemqlError, match="inside an operand"):
        parse_filter("x + (childOf(a)) == c")


def test_variables_are_values_and_paths() -> None:
    assert parse_filter("a == $args.b") == ast.Compare("==", ast.Name("a"), ast.Member(ast.Var("args"), "b"))


# --- what does not parse ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("concept job { name }", "expected a field type or a block after `name`, found `}`"),
        ("querry job q { }", "found `querry`; did you mean `query`?"),
        ("query job q { filtr a }", "found `filtr`; did you mean `filter`?"),
        ("query job q { filter a = 1 }", "found `=`; did you mean `==`?"),
        ("query job q { filter a and b }", "did you mean `&&`?"),
        ("query job q { filter shape card }", "`shape` begins a clause and names no predicate"),
        ("query job q { filter a; count == 1 }", "found `==`"),
        ("query job q { filter count }", "`count` begins a clause and cannot name a predicate"),
        ("logic l { body { x = 1 } }", "did you mean `:=`?"),
        ("logic l { body { return f\n(a) } x", "found `x`"),
        ("@x(a: 1) concept c { f int }", "found `:`; did you mean `=`?"),
        ("concept c { f int", "the `{` of line 1 is not closed"),
        ("query job q { filter f\n(a) }", "stands on the line of what it follows"),
        ("mutation job m { insert { title } }", "an entry is `key: value`, or `args.<name>`"),
        ("query job q { paginate payload.n }", "a number or `args.<name>`"),
        ("spec s { when(payload.x) { a } }", "`when(args.name) { .. }`"),
        ("concept c { f int } use a.b.{ c }", "imports stand before the first declaration"),
        ('spec s { concept@cache(1)=="x" }', "belong to raw requests"),
        ("concept c { f string @default('x') }", "double quotes"),
        ("concept", "expected a name after `concept`, found the end of the text"),
    ],
)
def test_messages_say_what_was_expected_and_what_stood_there(source: str, said: str) -> None:
    assert said in message(source)


def test_a_finding_names_file_line_and_column() -> None:
    assert message("concept c {\n  name\n}").startswith("error syntax ops/x.memql:3:1 ")


def test_every_broken_declaration_is_reported_once_and_the_others_are_kept() -> None:
    parsed = parse_file(
        dedent(
            """\
            use a.b.{ x }
            concept one { f string! ! }
            concept two { f int }
            spec three { a & b }
            @enabled( query job four { filter a }
            trait five { a; b, c }
            trait six { a }
            """
        )
    )
    assert [(finding.code, finding.span.line) for finding in parsed.findings] == [
        ("syntax", 2),
        ("syntax", 4),
        ("syntax", 5),
        ("filter-mixed", 6),
    ]
    assert [found.name for found in parsed.file.decls] == ["two", "six"]
    assert len(parsed.file.uses) == 1


def test_a_forgotten_brace_is_found_where_the_next_declaration_begins() -> None:
    parsed = parse_file("concept one {\n  f int\n\nconcept two { g int }\nspec three { }\ntrait four { a }")
    assert [(finding.code, finding.span.line) for finding in parsed.findings] == [("syntax", 4), ("spec-empty", 5)]
    assert "the `{` of line 1 is not closed" in parsed.findings[0].message
    assert [found.name for found in parsed.file.decls] == ["two", "four"]


def test_a_broken_import_does_not_hide_what_follows() -> None:
    parsed = parse_file("use a.b.{ x y }\nuse c.d.{ z }\nconcept e { f int }")
    assert [finding.span.line for finding in parsed.findings] == [1]
    assert [use.module for use in parsed.file.uses] == [("c", "d")]
    assert [found.name for found in parsed.file.decls] == ["e"]


def test_retired_forms_say_what_to_write_instead() -> None:
    parsed = parse_file("use identity.concepts.user\nfunc (q Query) list() { return a }\nconcept c { f int }")
    assert [finding.code for finding in parsed.findings] == ["legacy-form", "legacy-form"]
    assert "write `use identity.concepts.{ user }`" in parsed.findings[0].message
    assert [found.name for found in parsed.file.decls] == ["c"]


@pytest.mark.parametrize(
    "source", ["logic l { body { x := f(if a { b }) } }", "logic l { body { x := 1 + if (a) { b } } }"]
)
def test_if_inside_an_expression_has_its_own_code(source: str) -> None:
    assert findings(source) == [("if-value", 1)]


@pytest.mark.parametrize("kind", ["spec", "trait"])
def test_an_empty_predicate_has_its_own_code(kind: str) -> None:
    assert findings(f"{kind} s {{ }}") == [("spec-empty", 1)]


def nested(opening: str, core: str, closing: str, depth: int) -> str:
    return opening * depth + core + closing * depth


@pytest.mark.parametrize(
    ("opening", "core", "closing"),
    [
        ("(", "a", ")"),
        ("[", "a", "]"),
        ("{a:", "a", "}"),
        ("f(", "a", ")"),
        ("!", "a", ""),
        ("- ", "a", ""),
        ("a ? b : ", "c", ""),
        ("a ?? ", "c", ""),
        ("a + ", "c", ""),
        ("", "a", ".b"),
        ("", "a", "[0]"),
        ("", "a", "()"),
    ],
)
def test_nesting_has_a_limit_and_stays_clear_of_the_interpreters(opening: str, core: str, closing: str) -> None:
    for depth in (MAX_DEPTH * 2 + 1, 20_000):
        with pytest.raises(MemqlError) as caught:
            parse_expr(nested(opening, core, closing, depth))
        assert caught.value.code is Code.SYNTAX_ERROR
        assert "nested deeper" in caught.value.message
    tree = parse_expr(nested(opening, core, closing, MAX_DEPTH // 2 - 2))
    assert tree == parse_expr(nested(opening, core, closing, MAX_DEPTH // 2 - 2))
    assert hash(tree) == hash(tree)
    assert repr(tree)


def test_long_flat_texts_are_no_deep_ones() -> None:
    assert isinstance(parse_filter(" && ".join(["a"] * 5000)), ast.BoolOp)
    assert len(file("concept c { f int }\n" * 2000).decls) == 2000


def test_else_if_chains_count_as_nesting() -> None:
    chain = "if a { b } " + "else if a { b } " * 2000
    assert [code for code, _ in findings(f"logic l {{ body {{ {chain} }} }}")] == ["syntax"]


def test_a_file_has_a_largest_size() -> None:
    assert findings("// " + "x" * MAX_FILE_BYTES) == [("syntax", 1)]


def test_an_empty_file_is_a_file() -> None:
    assert file("") == ast.File((), (), ())
    assert isinstance(parse_file("  \n// nothing\n"), ParsedFile)


def test_spans_cover_what_was_written() -> None:
    source = "concept a { f int }\n\n@enabled\nquery  a  b {\n  filter x == 1\n}\n"
    _, query = file(source).decls
    assert (query.span.line, query.span.column, query.span.end_line, query.span.end_column) == (3, 1, 6, 2)
    assert source[query.name_span.start : query.name_span.end] == "b"
    assert isinstance(query, ast.QueryDecl)
    clause = query.clauses[0]
    assert source[clause.span.start : clause.span.end] == "filter x == 1"
    assert isinstance(clause, ast.FilterClause)
    assert source[clause.filter.span.start : clause.filter.span.end] == "x == 1"


def test_columns_count_characters() -> None:
    with pytest.raises(MemqlError) as caught:
        parse_expr('"é\U0001f600" + ]')
    error = caught.value
    assert error.position == 7
    assert error.details["column"] == 8
    assert error.context == '"é\U0001f600" + ]\n       ^'
