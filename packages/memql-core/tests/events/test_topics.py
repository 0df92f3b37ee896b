from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import MemqlError
from memql.events.kinds import EventKind, kind_for_topic, kind_number
from memql.events.topics import (
    check_topic,
    compile_pattern,
    compile_patterns,
    node_topic,
    normalize,
    normalize_pattern,
)

NODE = "graph.node.created.v1:ops:visit"


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("#", "a", True),
        ("#", "a.b.c", True),
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#.d", "a.d", True),
        ("a.#.d", "a.b.c.d", True),
        ("a.#.d", "a.b.c", False),
        ("#.d", "d", True),
        ("#.b.#", "a.b.c", True),
        ("#.b.*", "a.b", False),
        ("graph.node.created.v1:ops:*", NODE, True),
        ("graph.node.created.v1:ops:*", "graph.node.created.v1:crm:visit", False),
        ("graph.node.*.v1:ops:vis?t", NODE, True),
        ("graph.node.*.v?:*:visit", NODE, True),
        ("graph.node.created.v1:ops:visit?", NODE, False),
        ("a.x*z", "a.xz", True),
        ("a.x*z", "a.xyzy", False),
    ],
)
def test_a_pattern_selects_exactly_its_topics(pattern: str, topic: str, expected: bool) -> None:
    assert compile_pattern(pattern).matches(topic) is expected


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("", "#"),
        ("  a..b. ", "a.b"),
        ("...", "#"),
        ("graph.node.created.default.v1:ops:job", "graph.node.created.v1:ops:job"),
        ("graph.node.*.*.v1:ops:*", "graph.node.*.v1:ops:*"),
        ("graph.node.created.#.v1:ops:job", "graph.node.created.#.v1:ops:job"),
        ("graph.node.created.v1:ops:job", "graph.node.created.v1:ops:job"),
    ],
)
def test_patterns_are_normalised_and_lose_a_partition_segment(written: str, canonical: str) -> None:
    assert normalize_pattern(written) == canonical


def test_equal_patterns_are_kept_once() -> None:
    assert [one.text for one in compile_patterns(["a.b", "a..b", "a.*"])] == ["a.b", "a.*"]


def test_an_over_long_pattern_is_refused() -> None:
    with pytest.raises(MemqlError, match="too long"):
        compile_pattern(".".join("a" for _ in range(40)))


@pytest.mark.parametrize("text", ["", " . ", "a b", "a.*", "x" * 600, "a\n"])
def test_text_that_is_no_topic_is_refused(text: str) -> None:
    if text == "a\n":
        assert check_topic(text) == "a"
        return
    with pytest.raises(MemqlError, match="no topic"):
        check_topic(text)


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        (node_topic("created", "v1:ops:job"), EventKind.NODE_CREATED),
        (node_topic("deleted", "v1:ops:job"), EventKind.NODE_DELETED),
        ("graph.edge.created", EventKind.GRAPH_UPDATE),
        ("automation.step.failed", EventKind.AUTOMATION_STEP_FAILED),
        ("ops.swept", EventKind.MESSAGE),
        ("telemetry.load", EventKind.TELEMETRY),
        ("si.anything", EventKind.AI_EVENT),
    ],
)
def test_a_topic_implies_its_kind(topic: str, kind: EventKind) -> None:
    assert kind_for_topic(topic) is kind
    assert kind_number(kind.name.lower()) == kind.value


def test_an_unknown_kind_travels_as_a_message() -> None:
    assert kind_number("whatever") == EventKind.MESSAGE


segments = st.lists(st.sampled_from(["a", "b", "ab", "v1:x:y"]), min_size=1, max_size=6)
marks = st.lists(st.sampled_from(["a", "b", "ab", "*", "#", "a*", "?", "v1:*:y"]), min_size=1, max_size=6)


def reference(pattern: list[str], topic: list[str]) -> bool:
    if not pattern:
        return not topic
    if pattern[0] == "#":
        return any(reference(pattern[1:], topic[cut:]) for cut in range(len(topic) + 1))
    return bool(topic) and glob(pattern[0], topic[0]) and reference(pattern[1:], topic[1:])


def glob(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(glob(pattern[1:] or "", text[cut:]) if pattern[1:] else True for cut in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and glob(pattern[1:], text[1:]) if pattern else not text


@given(marks, segments)
def test_the_matcher_agrees_with_its_definition(pattern: list[str], topic: list[str]) -> None:
    assert compile_pattern(".".join(pattern)).matches(".".join(topic)) == reference(pattern, topic)


@given(st.text(alphabet="ab. *#", max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)
    assert normalize_pattern(normalize_pattern(text)) == normalize_pattern(text)
