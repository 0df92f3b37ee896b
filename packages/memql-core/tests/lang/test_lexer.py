from __future__ import annotations

import pytest

from memql.lang.lexer import MAX_DEPTH, Token, lex
from memql.lang.tables import load_tables
from memql.lang.words import CLAUSES, DIRECTIVES, KEYWORDS, RELATIONS


def kinds(text: str) -> list[str]:
    return [token.alt or token.kind for token in lex(text).tokens][:-1]


def values(text: str) -> list[str]:
    return [token.value for token in lex(text).tokens][:-1]


def only(text: str) -> Token:
    token, end = lex(text).tokens
    assert end.kind == "$END"
    return token


def test_a_concept_id_is_one_token_and_needs_two_segments() -> None:
    assert kinds("v1:ops:job v2:a:b:c v1:ops vx:a:b") == [
        *["CONCEPT", "CONCEPT"],
        *["IDENT", ":", "IDENT"],
        *["IDENT", ":", "IDENT", ":", "IDENT"],
    ]


def test_numbers_are_whole_or_have_a_fraction_or_an_exponent() -> None:
    assert kinds("0 12 1.5 1e3 2.5E-7 1e+2") == ["INT", "INT", "FLOAT", "FLOAT", "FLOAT", "FLOAT"]


def test_a_digit_segment_of_a_path_is_no_fraction() -> None:
    assert kinds("payload.tags.0.1.c") == ["IDENT", ".", "IDENT", "DOT_INT", "DOT_INT", ".", "IDENT"]
    assert values("a.07") == ["a", "07"]


@pytest.mark.parametrize("text", ["1x", "1_000", "1e", "0x10"])
def test_a_number_that_runs_into_letters_is_an_error(text: str) -> None:
    tokens = lex(text).tokens
    assert "ERROR" in {token.kind for token in tokens}


def test_string_escapes_are_decoded() -> None:
    assert only(r'"a\"b\\c\/d\b\f\n\r\té"').value == 'a"b\\c/d\b\f\n\r\té'
    assert only(r'"\ud83d\ude00"').value == "\U0001f600"


@pytest.mark.parametrize(
    ("text", "start", "word"),
    [
        (r'"ab\qcd"', 3, "escape"),
        (r'"\u12"', 1, "escape"),
        ('"open\n', 0, "closing"),
        (r'"\ud800"', 0, "surrogate"),
        ("'single'", 0, "double quotes"),
        ("a & b", 2, "`&&`"),
        ("a | b", 2, "`||`"),
        ("# note", 0, "`//`"),
        ("/* open", 0, "`*/`"),
        ("$ x", 0, "variable"),
    ],
)
def test_what_does_not_lex_becomes_an_error_token_in_its_place(text: str, start: int, word: str) -> None:
    error = next(token for token in lex(text).tokens if token.kind == "ERROR")
    assert error.start == start
    assert word in error.value


def test_every_kind_of_comment_is_kept_with_its_place() -> None:
    text = "a // one\n-- two\n/* three\n   lines */ b"
    comments = lex(text).comments
    assert [comment.text for comment in comments] == ["// one", "-- two", "/* three\n   lines */"]
    assert all(text[comment.start : comment.end] == comment.text for comment in comments)
    assert values(text) == ["a", "b"]


def test_documentation_waits_for_the_token_it_precedes() -> None:
    lexed = lex("/// first\n/// second\nname string\n//// no documentation\nx")
    assert [[comment.text for comment in doc] for doc in lexed.docs.values()] == [["/// first", "/// second"]]
    assert list(lexed.docs) == [21]
    assert [comment.text for comment in lexed.comments] == ["//// no documentation"]


def test_a_call_or_index_bracket_stands_on_the_line_of_what_it_follows() -> None:
    assert kinds("f(a)[0]") == ["IDENT", "_CALL", "IDENT", ")", "_INDEX", "INT", "]"]
    assert kinds("f\n(a)") == ["IDENT", "(", "IDENT", ")"]
    assert kinds("f /* a\nb */ [0]") == ["IDENT", "[", "INT", "]"]


def test_the_bracket_after_in_opens_a_list() -> None:
    assert kinds("a in (1)")[1:3] == ["in", "_IN_BRACKET"]
    assert kinds("a.in (1)")[3] == "_CALL"


def test_words_are_keywords_only_before_what_makes_them_one() -> None:
    assert kinds("args { args.x args: when( when. childOf(x childOf.x") == [
        *["args", "{", "IDENT", ".", "IDENT", "IDENT", ":"],
        *["when", "_CALL", "IDENT", "."],
        *["RELATION", "_CALL", "IDENT", "IDENT", ".", "IDENT"],
    ]
    assert kinds("sort(x sort x")[0] == "DIRECTIVE"
    assert kinds("count := a")[0] == "IDENT"
    assert kinds("not in")[0] == "not"
    assert kinds("not == x")[0] == "IDENT"


def test_an_at_sign_before_a_timestamp_is_told_from_an_annotation() -> None:
    assert kinds('r @ "2026-01-01"')[1] == "_AS_OF"
    assert kinds("r @ latest")[1] == "_AS_OF"
    assert kinds("@latestThing")[0] == "@"
    assert kinds("concept@cache(3)==x")[0] == "_SCOPED_CONCEPT"


def test_a_byte_order_mark_and_carriage_returns_are_blanks() -> None:
    assert values("\ufeffa\r\n b") == ["a", "b"]


def test_brackets_nest_only_so_deep() -> None:
    assert "ERROR" not in {token.kind for token in lex("(" * MAX_DEPTH + ")" * MAX_DEPTH).tokens}
    tokens = lex("(" * 100_000).tokens
    assert [token.kind for token in tokens[-2:]] == ["ERROR", "$END"]
    assert len(tokens) == MAX_DEPTH + 2


def test_the_word_lists_are_those_of_the_grammar() -> None:
    quoted = {
        word for row in load_tables().actions for word in row if (word.isalpha() and word.islower()) or word in KEYWORDS
    }
    assert quoted == KEYWORDS
    assert CLAUSES <= KEYWORDS
    assert not DIRECTIVES & RELATIONS
