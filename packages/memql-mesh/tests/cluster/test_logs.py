from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.mesh.cluster.logfiles import LogFile, last_lines
from memql.mesh.cluster.loglines import LEVELS, parse_lines
from memql.mesh.cluster.place import Place


def record(second: int, event: str, level: str = "info", **more: object) -> str:
    when = f"2026-01-02T03:04:{second:02}.000000Z"
    return msgspec.json.encode({"event": event, "level": level, "timestamp": when, "logger": "l", **more}).decode()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.logs.mkdir(parents=True)
    return made


def write(place: Place, node: str, *lines: str, end: str = "\n") -> None:
    with place.log(node).open("a") as file:
        file.write("\n".join(lines) + end)


def events(files: Sequence[LogFile], count: int = 100, level: str = "debug") -> list[tuple[str, str]]:
    return [(line.node, line.event) for line in last_lines(files, count, LEVELS[level])]


def test_lines_of_all_nodes_are_merged_by_time(place: Place) -> None:
    write(place, "a-1", record(1, "one"), record(4, "four"))
    write(place, "b-1", record(2, "two"), record(3, "three"), record(4, "four too"))
    files = [LogFile(place, node, 100) for node in ("a-1", "b-1")]
    assert [event for _, event in events(files)] == ["one", "two", "three", "four", "four too"]


def test_what_is_no_record_is_shown_as_it_is_where_it_stands(place: Place) -> None:
    write(
        place, "a-1", record(1, "one"), "Traceback (most recent call last):", '{"no": "event"}', "[1]", record(3, "x")
    )
    write(place, "b-1", record(2, "two"))
    files = [LogFile(place, node, 100) for node in ("a-1", "b-1")]
    shown = [event for _, event in events(files)]
    assert shown == ["one", "Traceback (most recent call last):", '{"no": "event"}', "[1]", "two", "x"]


def test_what_is_no_record_is_never_left_out_for_its_level(place: Place) -> None:
    write(place, "a-1", record(1, "low"), "error CONFIG_INVALID: no", record(2, "high", "error"))
    assert events([LogFile(place, "a-1", 100)], level="error") == [
        ("a-1", "error CONFIG_INVALID: no"),
        ("a-1", "high"),
    ]


def test_only_so_many_lines_are_shown_and_they_are_the_last(place: Place) -> None:
    write(place, "a-1", *(record(number, f"a{number}") for number in range(0, 60, 2)))
    write(place, "b-1", *(record(number, f"b{number}") for number in range(1, 60, 2)))
    files = [LogFile(place, node, 3) for node in ("a-1", "b-1")]
    assert [event for _, event in events(files, 3)] == ["b57", "a58", "b59"]
    assert events([LogFile(place, "a-1", 0)], 0) == []


def test_a_log_that_grows_is_read_on_line_by_line(place: Place) -> None:
    write(place, "a-1", record(1, "old"))
    file = LogFile(place, "a-1", 0)
    assert file.read() == []
    write(place, "a-1", record(2, "new"), record(3, "half")[:20], end="")
    assert [line.event for line in file.read()] == ["new"]
    assert file.read() == []
    write(place, "a-1", record(3, "half")[20:])
    assert [line.event for line in file.read()] == ["half"]


def test_a_log_that_begins_anew_is_read_from_its_beginning(place: Place) -> None:
    file = LogFile(place, "a-1", 10)
    assert file.read() == []
    write(place, "a-1", record(1, "first"))
    assert [line.event for line in file.read()] == ["first"]
    place.log("a-1").replace(place.logs / "a-1.log.1")
    write(place, "a-1", record(2, "a new file that is longer than the old one was"))
    assert [line.event for line in file.read()] == ["a new file that is longer than the old one was"]
    place.log("a-1").write_text(record(3, "cut") + "\n")
    assert [line.event for line in file.read()] == ["cut"]


def test_a_record_says_what_belongs_to_it_and_keeps_its_trace_apart() -> None:
    (line,) = parse_lines("a-1", [record(1, "failed", "error", run="r1", tries=2, exception="Traceback\n  File")])
    assert line.message == "failed run=r1 tries=2"
    assert line.trace == "Traceback\n  File"
    assert (line.level, line.severity, line.logger) == ("error", 40, "l")
    assert len(line.clock) == 12


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n\r"), max_size=30), max_size=20))
def test_no_text_is_lost_or_fails(texts: list[str]) -> None:
    lines = list(parse_lines("a-1", texts))
    assert len(lines) == sum(bool(text.strip()) for text in texts)
    assert all(line.clock for line in lines)


@given(st.lists(st.integers(0, 59), max_size=60), st.integers(0, 70))
def test_the_last_lines_of_one_log_are_its_last_in_its_order(
    tmp_path_factory: object, seconds: list[int], n: int
) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    place = Place(tmp_path_factory.mktemp("logs"))
    place.logs.mkdir(parents=True)
    texts = [record(second, f"e{number}") for number, second in enumerate(sorted(seconds))]
    if texts:
        write(place, "a-1", *texts)
    wanted = [f"e{number}" for number in range(len(texts))][len(texts) - min(n, len(texts)) :]
    assert [event for _, event in events([LogFile(place, "a-1", n)], n)] == wanted
