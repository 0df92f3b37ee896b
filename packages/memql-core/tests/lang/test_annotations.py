from __future__ import annotations

import pytest

from memql.lang import ast
from memql.lang.annotations import ANNOTATIONS, allowed_on, bind, row_for, signature
from memql.lang.literals import is_datetime_text, parse_duration, parse_text
from memql.lang.parser import parse_file


def annotation(text: str) -> ast.Annotation:
    parsed = parse_file(f"{text} concept c {{ a string }}")
    assert not parsed.findings
    return parsed.file.decls[0].annotations[0]


def test_no_two_rows_speak_for_one_annotation_on_one_target() -> None:
    pairs = [(row.name, target) for row in ANNOTATIONS for target in row.targets]
    assert len(pairs) == len(set(pairs))


def test_every_target_takes_a_description() -> None:
    targets = {target for row in ANNOTATIONS for target in row.targets}
    assert all("description" in allowed_on(target) for target in targets)


def test_one_name_means_different_things_on_different_targets() -> None:
    on_concept, on_provider = row_for("type", "concept"), row_for("type", "provider")
    assert on_concept is not None
    assert on_provider is not None
    assert on_concept.params[0].choices == ("object", "collection", "reference")
    assert on_provider.params[0].choices == ()


def test_an_annotation_out_of_place_has_no_row() -> None:
    assert row_for("trigger", "concept") is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('@version("1.2.0")', {"value": "1.2.0"}),
        ('@cache(ttl="5m")', {"ttl": 300.0}),
        ("@cache(ttl=60)", {"ttl": 60.0}),
        ("@rowAuthz(clusterOwner)", {"rule": "clusterOwner"}),
        ('@rowAuthz(owner="a")', {"owner": "a"}),
        ('@relationship(type="parent", field="a", target=job)', {"type": "parent", "field": "a", "target": "job"}),
        ("@secretStore", {}),
    ],
)
def test_arguments_are_read_by_the_table(text: str, values: dict[str, object]) -> None:
    written = annotation(text)
    row = row_for(written.name, "concept")
    assert row is not None
    bound = bind(written, row)
    assert bound.problems == ()
    assert bound.values == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("@version", "is missing"),
        ("@version(1)", "text in quotes"),
        ('@version("1.0.0", "2.0.0")', "no further argument"),
        ('@secretStore("x")', "no further argument"),
        ('@cache(time="5m")', "no argument named"),
        ('@cache(ttl="soon")', "duration"),
        ('@cache(ttl="5m", ttl="6m")', "twice"),
        ("@rowAuthz(everyone)", "must be one of"),
        ('@rowAuthz("public")', "without quotes"),
        ('@type("heap")', "must be one of"),
    ],
)
def test_arguments_that_do_not_fit_are_told(text: str, problem: str) -> None:
    written = annotation(text)
    row = row_for(written.name, "concept")
    assert row is not None
    assert problem in "; ".join(bind(written, row).problems)


def test_a_signature_shows_what_may_be_left_out() -> None:
    row = row_for("displayCard", "concept")
    assert row is not None
    assert signature(row).startswith('@displayCard(primary="..", [secondary=".."]')


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (7, 7.0)]
)
def test_durations_are_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-1s", "s", True, -1, float("inf"), None, "1 s"])
def test_what_is_no_duration_is_none(text: object) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    "text",
    ["2026-03-05T00:00:00Z", "2026-03-05t10:11:12.123456789z", "2026-03-05T00:00:00.5-07:30", "2024-02-29T23:59:59Z"],
)
def test_rfc_3339_is_recognised(text: str) -> None:
    assert is_datetime_text(text)


@pytest.mark.parametrize(
    "text", ["2026-03-05", "2026-03-05T00:00:00", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "now"]
)
def test_other_dates_are_not_instants(text: str) -> None:
    assert not is_datetime_text(text)


def test_text_is_read_by_type() -> None:
    assert parse_text("true", ast.ScalarType("bool")) is True
    assert parse_text("3", ast.ScalarType("int")) == 3
    assert parse_text("3", ast.ScalarType("string")) == "3"
    assert parse_text('["a"]', ast.ListType(ast.ScalarType("string"))) == ["a"]
    with pytest.raises(ValueError, match="neither"):
        parse_text("yes", ast.ScalarType("bool"))
