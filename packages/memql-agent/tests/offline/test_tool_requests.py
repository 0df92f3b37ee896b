"""When a message asks for a tool by its name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memql.agent.tool_requests import ToolRequest, is_read_only, tool_request
from memql.lang.loader import Sources, load_tree, read_sources

from .conftest import CALLS, MEMO

CATALOG = load_tree(read_sources().over(Sources({"memo/concepts.memql": MEMO, "memo/tools.memql": CALLS}))).require()
TOOLS = list(CATALOG.tools.values())


def ask(text: str) -> ToolRequest | None:
    return tool_request(text, TOOLS, CATALOG)


def test_only_a_tool_whose_handler_reads_counts_as_reading() -> None:
    assert {tool.name for tool in TOOLS if is_read_only(tool, CATALOG)} == {"findArticle", "allArticles"}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("/findArticle title=Roses", {"title": "Roses"}),
        ('/findArticle title="Red \\"roses\\"" topic=plants', {"title": 'Red "roses"', "topic": "plants"}),
        ("  /findArticle   title = 42 ", {"title": "42"}),
        ("/findArticle", {}),
        ('/addArticle title=Roses body="a = b, c = d"', {"title": "Roses", "body": "a = b, c = d"}),
        ("please run findArticle with title=Roses!", {"title": "Roses"}),
        ("findArticle topic=plants, title=Roses", {"topic": "plants", "title": "Roses"}),
        ("allArticles", {}),
    ],
)
def test_a_named_tool_with_its_arguments_is_asked_for(text: str, arguments: dict[str, Any]) -> None:
    found = ask(text)
    assert found is not None
    assert (found.arguments, found.refusal) == (arguments, "")


@pytest.mark.parametrize(
    "text",
    [
        "what do roses need?",
        "tell me about findArticle",
        "findArticle topic=plants",
        "allArticles about roses, please",
        "findArticle title=Roses or addArticle title=Roses",
        "refindArticle title=Roses",
        "/etc/hosts title=Roses",
        "/ findArticle",
        "",
    ],
)
def test_anything_else_is_a_question(text: str) -> None:
    assert ask(text) is None


def test_a_tool_that_may_write_is_run_with_the_slash_only() -> None:
    found = ask("addArticle title=Roses")
    assert found is not None
    assert "/addArticle" in found.refusal


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/findArticel title=Roses", "did you mean findArticle"),
        ("/nothing", "You may call: "),
        ("/findArticle Roses", "'Roses' is not key=value; write /findArticle title=.. topic=.."),
        ("/findArticle titel=Roses", "'titel=Roses' is not key=value"),
    ],
)
def test_a_slash_that_cannot_be_followed_says_why(text: str, part: str) -> None:
    found = ask(text)
    assert found is not None
    assert part in found.refusal


@given(text=st.text(max_size=200) | st.text(alphabet='/findArticle title="{}[]=, \\', max_size=60))
@example(text="/findArticle title=" + "[" * 50)
def test_no_message_is_too_strange(text: str) -> None:
    found = ask(text)
    assert found is None or isinstance(found.arguments, dict)


@given(title=st.text(alphabet=st.characters(codec="utf-8"), max_size=50))
def test_a_quoted_value_arrives_as_it_is(title: str) -> None:
    import json

    found = ask(f"/addArticle title={json.dumps(title)}")
    assert found is not None
    assert found.arguments == {"title": title}
