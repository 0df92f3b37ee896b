from __future__ import annotations

from memql.lang.ast import Span
from memql.lang.diagnostics import Finding
from memql.lang.excerpt import finding_to_json, render, summary
from memql.lang.loader import Sources


def finding(
    line: int, column: int, end_column: int, *, end_line: int | None = None, severity: str = "error"
) -> Finding:
    span = Span("a/b.memql", line, column, end_line or line, end_column, 0, 0)
    return Finding("error" if severity == "error" else "warning", "unknown-type", "no such type", span)


def show(text: str, one: Finding) -> list[str]:
    return render(one, Sources({"a/b.memql": text})).splitlines()


def test_carets_stand_under_the_place() -> None:
    lines = show("concept c {\n  a strng\n}", finding(2, 5, 10))
    assert lines == ["error unknown-type a/b.memql:2:5 no such type", "  |", "2 |   a strng", "  |     ^^^^^"]


def test_a_place_that_spans_lines_is_marked_to_the_end_of_its_first() -> None:
    assert show("concept c {\n}", finding(1, 9, 2, end_line=2))[-1] == "  |         ^^^"


def test_tabs_and_wide_characters_keep_the_carets_aligned() -> None:
    assert show("\ta 漢 b", finding(1, 4, 5))[2:] == ["1 |     a 漢 b", "  |       ^^ "[:-1]]
    assert show("\ta 漢 b", finding(1, 6, 7))[-1] == "  |          ^"


def test_a_place_at_the_end_of_the_text_gets_one_caret() -> None:
    assert show("concept c {", finding(1, 12, 12))[-1] == "  |            ^"


def test_long_lines_are_cut_around_the_place() -> None:
    lines = show("x" * 500 + " bad " + "y" * 500, finding(1, 502, 505))
    assert "..." in lines[2]
    caret = lines[3].index("^")
    assert lines[2][caret : caret + 3] == "bad"


def test_without_the_source_only_the_first_line_is_shown() -> None:
    assert render(finding(1, 1, 2), Sources({})) == "error unknown-type a/b.memql:1:1 no such type"


def test_json_has_the_place_in_numbers() -> None:
    assert finding_to_json(finding(2, 5, 10)) == {
        "severity": "error", "code": "unknown-type", "message": "no such type", "file": "a/b.memql", "line": 2,
        "column": 5, "endLine": 2, "endColumn": 10,
    }  # fmt: skip


def test_the_summary_counts() -> None:
    assert summary(()) == "no findings"
    assert summary((finding(1, 1, 1),)) == "1 error"
    both = (finding(1, 1, 1), finding(2, 1, 1), finding(3, 1, 1, severity="warning"))
    assert summary(both) == "2 errors, 1 warning"
