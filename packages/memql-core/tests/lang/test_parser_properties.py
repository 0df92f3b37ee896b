"""What must hold for every tree and every text: trees survive their text, and no text breaks the parser."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.formatter import format_ast, format_file, format_filter
from memql.lang.lexer import lex
from memql.lang.parser import parse_expr, parse_file, parse_filter, parse_request
from memql.lang.words import CLAUSES, DIRECTIVES, KEYWORDS, LITERALS, RELATIONS

fast = settings(
    deadline=None,
    max_examples=150,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
slow = settings(fast, max_examples=50)

TREES = Path(__file__).parents[1] / "trees"
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(TREES.rglob("*.memql"))]

# --- trees -----------------------------------------------------------------------------------------------------------


def opaque(strategy: st.SearchStrategy) -> st.SearchStrategy:
    """The same strategy without its long description, which hypothesis would compose again and again."""

    @st.composite
    def tree(draw: st.DrawFn) -> object:
        return draw(strategy)

    return tree()


letters = st.from_regex(r"[a-z_][A-Za-z0-9_]{0,4}", fullmatch=True)
any_word = opaque(st.one_of(letters, st.sampled_from(sorted(KEYWORDS | DIRECTIVES | RELATIONS))))
# Words that mean something where an operand may stand.
SPOKEN_FOR = (
    LITERALS | CLAUSES | DIRECTIVES | RELATIONS | {"in", "not", "has", "matches", "startsWith", "if", "when", "latest"}
)
free_word = any_word.filter(lambda word: word not in SPOKEN_FOR)
concept_ids = st.from_regex(r"v[0-9]{1,2}(:[a-z][a-z0-9]{0,3}){2,3}", fullmatch=True)
names = st.builds(ast.Name, free_word)
texts = st.text(max_size=6)
literals = st.builds(
    ast.Literal,
    st.one_of(
        texts,
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-2, 2),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
    ),
)
roots = st.one_of(literals, names, st.builds(ast.ConceptRef, concept_ids), st.builds(ast.Var, any_word))


def tuples(items: st.SearchStrategy, low: int = 0, high: int = 3) -> st.SearchStrategy:
    return st.lists(items, min_size=low, max_size=high).map(tuple)


def pairs(values: st.SearchStrategy, low: int = 0) -> st.SearchStrategy:
    return tuples(st.tuples(st.one_of(any_word, texts), values), low)


segments = st.one_of(any_word, st.integers(0, 10**6))


@st.composite
def paths(draw: st.DrawFn, first: st.SearchStrategy = free_word, low: int = 0) -> ast.Expr:
    path: ast.Expr = ast.Name(draw(first))
    for segment in draw(tuples(segments, low)):
        path = ast.Member(path, segment)
    return path


def lists_of(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.builds(ast.ListExpr, tuples(inner)), st.builds(ast.ObjectExpr, pairs(inner)))


def larger(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        lists_of(inner),
        st.builds(ast.Member, inner, segments),
        st.builds(ast.Index, inner, inner),
        st.builds(ast.Call, inner, tuples(inner)),
        st.builds(lambda callee, named: ast.Call(callee, named=named), inner, pairs(inner, 1)),
        st.builds(ast.Unary, st.sampled_from(["!", "-"]), inner),
        st.builds(ast.BinaryOp, st.sampled_from(["+", "-", "*", "/", "%", "??"]), inner, inner),
        st.builds(
            ast.Compare,
            st.sampled_from(["==", "!=", ">", ">=", "<", "<=", "has", "startsWith", "matches"]),
            inner,
            inner,
        ),
        st.builds(
            ast.Compare,
            st.sampled_from(["in", "not in"]),
            inner,
            st.one_of(st.builds(ast.ListExpr, tuples(inner)), paths()),
        ),
        st.builds(ast.BoolOp, st.sampled_from(["&&", "||"]), tuples(inner, 2, 4)),
        st.builds(ast.Cond, inner, inner, inner),
    )


deep_exprs = st.recursive(roots, larger, max_leaves=10)
# What stands inside larger trees.
exprs = opaque(st.one_of(roots, paths(), larger(roots)))


def larger_filter(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        st.builds(ast.When, tuples(any_word, 1), inner),
        st.builds(ast.Relation, st.sampled_from(sorted(RELATIONS)), inner),
        st.builds(ast.Unary, st.just("!"), inner),
        st.builds(ast.BoolOp, st.sampled_from(["&&", "||"]), tuples(inner, 2, 4)),
    )


deep_filters = st.recursive(st.one_of(deep_exprs, st.builds(ast.OptionalTerm, deep_exprs)), larger_filter, max_leaves=6)
terms = st.one_of(exprs, st.builds(ast.OptionalTerm, exprs))
filters = opaque(st.one_of(terms, larger_filter(terms)))
literal_values = opaque(st.one_of(literals, lists_of(exprs)))

blocks: st.SearchStrategy[ast.Block] = st.deferred(lambda: st.builds(ast.Block, tuples(statements)))
branches: st.SearchStrategy[ast.IfExpr] = st.deferred(
    lambda: st.builds(ast.IfExpr, exprs, blocks, st.one_of(st.none(), blocks, branches)),
)
statements: st.SearchStrategy[ast.Stmt] = st.deferred(
    lambda: st.one_of(
        st.builds(ast.ExprStmt, exprs),
        st.builds(ast.AssignStmt, any_word, exprs),
        st.builds(ast.ReturnStmt, exprs),
        st.builds(ast.AssignStmt, any_word, branches),
        st.builds(ast.IfStmt, branches),
        st.builds(ast.ForStmt, any_word, exprs, blocks),
    )
)

types = st.recursive(
    st.one_of(
        st.builds(ast.ScalarType, letters.filter(lambda word: word not in {"map", "enum", "array"})),
        st.builds(ast.EnumType, tuples(texts, 1)),
    ),
    lambda inner: st.one_of(st.builds(ast.ListType, inner), st.builds(ast.MapType, inner)),
    max_leaves=3,
)
annotation_args = st.builds(
    ast.AnnotationArg,
    st.one_of(st.just(""), any_word),
    st.one_of(literal_values, paths(), st.builds(ast.ConceptRef, concept_ids)),
)
annotation_nodes = st.one_of(
    st.builds(ast.Annotation, any_word.filter(lambda word: word not in {"filter", "latest"})),
    st.builds(
        ast.Annotation,
        any_word.filter(lambda word: word not in {"filter", "latest"}),
        tuples(annotation_args),
        st.just(True),
    ),
    st.builds(
        lambda expr: ast.Annotation("filter", (ast.AnnotationArg("", expr),), called=True),
        filters,
    ),
)
docs = st.one_of(st.none(), st.sampled_from(["", "One line.", " Indented.\n\nThree lines, /// and // inside."]))
plain_fields = st.builds(ast.FieldDecl, any_word, types, st.booleans(), tuples(annotation_nodes, 0, 2), st.none(), docs)
fields = st.recursive(
    plain_fields,
    lambda inner: st.one_of(
        st.builds(ast.FieldDecl, any_word, types, st.booleans(), tuples(annotation_nodes, 0, 1), tuples(inner), docs),
        st.builds(
            ast.FieldDecl, any_word, st.none(), st.just(False), tuples(annotation_nodes, 0, 1), tuples(inner), docs
        ),
    ),
    max_leaves=4,
)
args = tuples(plain_fields)
shape_words = letters.filter(lambda word: word not in {"as", "include"})
shape_items = st.one_of(
    st.builds(ast.ShapePath, tuples(shape_words, 1), st.one_of(st.none(), any_word)),
    st.builds(ast.ShapeInclude, any_word),
)
args_paths = st.builds(lambda word: ast.Member(ast.Name("args"), word), any_word)
shared_clauses = st.one_of(st.builds(ast.ArgsClause, args), st.builds(ast.FilterClause, filters))
clauses = st.one_of(
    shared_clauses,
    st.builds(ast.ShapeClause, any_word),
    st.builds(ast.SortClause, tuples(texts, 1)),
    st.builds(ast.PaginateClause, st.one_of(args_paths, st.builds(ast.Literal, st.integers(0, 10**6)))),
    st.builds(ast.AsOfClause, st.one_of(st.none(), exprs)),
    st.just(ast.CountClause()),
)


def shorthand(path: ast.Expr) -> ast.WriteEntry:
    assert isinstance(path, ast.Member)
    return ast.WriteEntry(str(path.name), path, shorthand=True)


shorthands = paths(st.just("args"), 1).map(shorthand)
entries = st.one_of(st.builds(ast.WriteEntry, st.one_of(any_word, texts), exprs), shorthands)
writes = st.builds(
    ast.Write, st.sampled_from(["insert", "update", "delete"]), st.one_of(st.none(), any_word), tuples(entries)
)
objects = st.builds(ast.ObjectExpr, pairs(exprs))
actions = st.one_of(
    st.builds(ast.Action, st.sampled_from(["logic", "query", "mutation", "builtin", "automation"]), any_word, objects),
    st.builds(ast.Action, st.just("publishEvent"), st.just(""), objects),
)
steps = st.builds(ast.Step, any_word, st.one_of(st.none(), exprs), actions)
seed_blocks = st.recursive(
    st.builds(ast.SeedBlock, tuples(st.builds(ast.SeedEntry, any_word, literal_values))),
    lambda inner: st.builds(ast.SeedBlock, tuples(st.builds(ast.SeedEntry, any_word, inner))),
    max_leaves=3,
)


def declared(kind: Callable[..., ast.Decl], **parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(kind, name=any_word, annotations=tuples(annotation_nodes, 0, 2), doc=docs, **parts)


decls = st.one_of(
    declared(ast.ConceptDecl, fields=tuples(fields), body_annotations=tuples(annotation_nodes, 0, 1)),
    declared(ast.ShapeDecl, concept=st.one_of(st.none(), any_word), items=tuples(shape_items)),
    declared(ast.SpecDecl, filter=filters),
    declared(ast.TraitDecl, filter=filters),
    declared(ast.QueryDecl, concept=any_word, clauses=tuples(clauses)),
    declared(ast.MutationDecl, concept=any_word, clauses=tuples(shared_clauses), writes=tuples(writes)),
    declared(ast.LogicDecl, args=args, body=blocks),
    declared(ast.AutomationDecl, args=st.one_of(st.none(), args), steps=tuples(steps)),
    declared(ast.BuiltinDecl, fields=args),
    declared(ast.PromptDecl, fields=args),
    declared(ast.ToolDecl, fields=args),
    declared(
        ast.ProviderDecl,
        auth=tuples(st.tuples(any_word, st.one_of(texts, st.builds(ast.EnvRef, texts)))),
        params=tuples(st.tuples(any_word, literal_values)),
    ),
    declared(ast.PolicyDecl, args=args, returns=st.one_of(st.none(), exprs)),
    declared(ast.PolicyDecl, args=args, body=blocks),
    declared(ast.SeedDecl, concept=any_word, body=seed_blocks),
)
uses = st.builds(
    ast.Use,
    tuples(any_word, 1),
    tuples(st.builds(ast.UseSymbol, any_word, st.one_of(st.none(), any_word)), 1),
)
files = st.one_of(
    st.builds(ast.File, st.just(()), st.just(()), tuples(decls, 1, 2)),
    st.builds(ast.File, tuples(annotation_nodes, 0, 1), tuples(uses, 1, 2), tuples(decls, 0, 1)),
)

calls = st.one_of(
    st.builds(ast.Call, names, tuples(lists_of(exprs), 0, 1)),
    st.builds(lambda callee, named: ast.Call(callee, named=named), names, pairs(exprs, 1)),
)
plain_reads = st.one_of(
    st.builds(ast.CallRead, calls),
    st.builds(
        ast.FilterRead,
        filters.filter(lambda expr: not (isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name))),
        st.one_of(st.none(), texts, st.just("latest")),
    ),
    st.builds(
        lambda concept, rest, cache, options: ast.FilterRead(
            ast.BoolOp("&&", (ast.Compare("==", ast.Name("concept"), concept), *rest)), None, cache, options
        ),
        st.builds(ast.ConceptRef, concept_ids),
        tuples(filters, 1),
        st.integers(0, 9),
        st.one_of(st.none(), tuples(texts, 1)),
    ),
)


@st.composite
def reads(draw: st.DrawFn) -> ast.Read:
    read: ast.Read = draw(plain_reads)
    for directive in draw(st.lists(st.sampled_from(sorted(DIRECTIVES)), unique=True, max_size=3)):
        read = ast.DirectiveRead(directive, read, draw(tuples(exprs, 0, 2)))
    return read


named_args = st.tuples(st.tuples(st.just("id"), exprs), st.tuples(st.just("payload"), exprs))
requests = st.builds(
    ast.Request,
    tuples(st.tuples(any_word, filters), 0, 2),
    st.one_of(
        reads(),
        st.builds(ast.InsertRequest, texts, named_args),
        st.builds(ast.UpdateRequest, texts, named_args),
        st.builds(ast.DeleteRequest, texts, named_args.map(lambda given: given[:1])),
    ),
)


def survives(parse: Callable[[str], object], write: Callable[..., str], tree: object) -> None:
    text = write(tree)
    try:
        parsed = parse(text)
    except MemqlError as error:
        assume("nested deeper" not in error.message)
        raise
    assert parsed == tree, text


@fast
@given(deep_exprs)
def test_every_expression_survives_its_text(tree: ast.Expr) -> None:
    survives(parse_expr, format_ast, tree)


@fast
@given(deep_filters)
def test_every_filter_survives_its_text(tree: ast.Expr) -> None:
    survives(parse_filter, format_filter, tree)


@fast
@given(requests)
def test_every_request_survives_its_text(tree: ast.Request) -> None:
    survives(parse_request, format_ast, tree)


@slow
@given(files)
def test_every_file_survives_its_text_which_is_canonical_at_once(tree: ast.File) -> None:
    text = format_ast(tree)
    parsed = parse_file(text)
    assume(not any("nested deeper" in finding.message for finding in parsed.findings))
    assert not parsed.findings, f"{parsed.findings[0]}\n{text}"
    assert parsed.file == tree, text
    assert format_file(text) == text


# --- texts -----------------------------------------------------------------------------------------------------------

SIGNS = "{ } ( ) [ ] , ; : . := == != < <= = + - * / % ?? ? ?. ! && || @ $x v1:a:b 1 -2 1.5 name"
PIECES = [
    *sorted(KEYWORDS | DIRECTIVES | RELATIONS),
    *SIGNS.split(),
    *['"text"', '"$args.a"', "// note\n", "/* note */", "/// doc\n", "\n", "\\", '"open', "/*", "'", "é"],
]
soups = st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)


def check_never_fails(text: str) -> None:
    parsed = parse_file(text)
    for finding in parsed.findings:
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert finding.severity == "error"
    if not parsed.findings:
        check_format(text)
    for parse in (parse_request, parse_filter, parse_expr):
        try:
            parse(text)
        except MemqlError as error:
            assert error.code is Code.SYNTAX_ERROR
            assert error.position is not None
            assert 0 <= error.position <= len(text)
            assert error.message


def check_format(text: str) -> None:
    formatted = format_file(text)
    assert format_file(formatted) == formatted
    before, after = parse_file(text), parse_file(formatted)
    assert after.file == before.file
    assert [comment.text.split() for comment in after.comments] == [comment.text.split() for comment in before.comments]


@fast
@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "replace")), soups))
def test_no_text_breaks_the_parser(text: str) -> None:
    check_never_fails(text)


@slow
@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False), st.integers(1, 4))
def test_no_damaged_source_breaks_the_parser(source: str, chance: random.Random, wounds: int) -> None:
    for _ in range(wounds):
        start = chance.randrange(len(source))
        end = min(len(source), start + chance.randrange(12))
        source = source[:start] + chance.choice(["", " ", *PIECES]) + source[end:]
    check_never_fails(source)


@slow
@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False), st.integers(1, 5))
def test_comments_survive_between_any_two_tokens(source: str, chance: random.Random, count: int) -> None:
    tokens = lex(source).tokens
    places = sorted((chance.choice(tokens).start for _ in range(count)), reverse=True)
    for number, place in enumerate(places):
        note = chance.choice([f"/* {number} */", f"// {number}\n", f"\n-- {number}\n", f"/* {number}\n  x */"])
        source = source[:place] + note + source[place:]
    if not parse_file(source).findings:
        check_format(source)


@pytest.mark.parametrize("source", SOURCES)
def test_the_example_trees_parse_and_format_to_themselves(source: str) -> None:
    assert parse_file(source).findings == ()
    check_format(source)


def seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def fail_to_parse(text: str) -> None:
    with pytest.raises(MemqlError):
        parse_filter(text)


@pytest.mark.parametrize(
    ("parse", "unit", "count"),
    [
        (parse_file, "concept c { name string! @x(1) }\n", 300),
        (parse_file, "concept c {\n", 600),
        (parse_file, "@x query a b { filter c }}\n", 100),
        (parse_file, "/* ", 8000),
        (parse_file, '"', 20000),
        (parse_file, "/// doc\n", 4000),
        (parse_filter, "a == 1 && ", 0),
        (fail_to_parse, "a ? b : ", 3000),
        (fail_to_parse, "!", 20000),
        (fail_to_parse, "1", 20000),
        (fail_to_parse, '"\\x', 5000),
    ],
)
def test_time_grows_with_the_text_and_no_faster(parse: Callable[[str], object], unit: str, count: int) -> None:
    if parse is parse_filter:
        small, large = (" && ".join(["a == 1"] * size) for size in (500, 2000))
    else:
        small, large = unit * count, unit * count * 4
    parse(small)
    # Four times the text: a quadratic parser would take sixteen times as long.
    assert seconds(partial(parse, large)) < 10 * seconds(partial(parse, small)) + 0.02
