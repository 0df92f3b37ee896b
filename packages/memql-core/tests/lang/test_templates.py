"""Prompt templates render what they say and refuse what they cannot mean, with a place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.lang.templates import parse_template, render


def test_values_appear_as_text_and_as_json() -> None:
    text = render("Job {{.title}}: {{json .visits}}", {"title": "Boiler", "visits": [{"score": 30}]})
    assert text == 'Job Boiler: [{"score":30}]'


def test_nested_paths_and_list_positions_are_followed() -> None:
    assert render("{{.a.b.1}}", {"a": {"b": ["x", "y"]}}) == "y"


def test_missing_members_render_as_nothing() -> None:
    assert render("[{{.a.b}}]", {}) == "[]"


def test_conditions_take_the_else_branch_for_missing_and_empty_values() -> None:
    template = "{{if .name}}Hi {{.name}}{{else}}Hello{{end}}"
    assert render(template, {"name": "Ada"}) == "Hi Ada"
    assert render(template, {"name": ""}) == "Hello"
    assert render(template, {}) == "Hello"


def test_range_walks_a_list_with_the_item_as_dot_and_the_input_as_dollar() -> None:
    template = "{{range .legs}}{{$.who}}:{{.to}} {{else}}none{{end}}"
    assert render(template, {"who": "me", "legs": [{"to": "ABQ"}, {"to": "DFW"}]}) == "me:ABQ me:DFW "
    assert render(template, {"legs": []}) == "none"


def test_blocks_nest() -> None:
    template = "{{range .rows}}{{if .ok}}{{range .tags}}<{{.}}>{{end}}{{else}}-{{end}}{{end}}"
    assert render(template, {"rows": [{"ok": True, "tags": ["a", "b"]}, {"ok": False}]}) == "<a><b>-"


def test_dashes_trim_the_blanks_beside_a_tag() -> None:
    assert render("a  {{- .x -}}  b", {"x": 1}) == "a1b"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{if .a}}x", "has no {{end}}"),
        ("x{{end}}", "closes nothing"),
        ("{{ title }}", "no path"),
        ("{{.a", "not closed"),
        ("\n\n{{range a}}{{end}}", "line 3"),
    ],
)
def test_malformed_templates_are_refused_with_the_line(template: str, message: str) -> None:
    with pytest.raises(MemqlError) as caught:
        parse_template(template)
    assert caught.value.code is Code.SYNTAX_ERROR
    assert message in caught.value.message


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused_with_a_code(text: str) -> None:
    try:
        template = parse_template(text)
    except MemqlError as error:
        assert error.code is Code.SYNTAX_ERROR
    else:
        template.render({})


@given(st.text(alphabet=st.characters(exclude_characters="{}")))
def test_text_without_tags_renders_as_itself(text: str) -> None:
    assert render(text, {}) == text
