"""Recall: what is found, and that nobody finds what they may not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memql.agent import recall as module
from memql.agent.local_embedding import LocalEmbedding
from memql.agent.questions import search_text, search_words
from memql.agent.recall import Recall, Recalled
from memql.auth import Actor
from memql.engine.tools.model_errors import si_id
from memql.errors import MemqlError
from memql.events import Event
from memql.lang.catalog import Concept

from .conftest import USERS, AgentNode

pytestmark = pytest.mark.anyio

QUESTION = "Where does the blue heron nest?"
TEXT = "The blue heron nests in the reeds"
DIARIES = {"ann": "The heron diary of Ann", "bob": "The heron diary of Bob"}


def recall_of(agent: AgentNode) -> Recall:
    engine = agent.node.engine
    return Recall(lambda: engine.catalog, engine.readable, agent.node.database, LocalEmbedding())


def found_ids(recalled: Recalled) -> list[str]:
    """The short ids of what was found, beside the carriers that the airline's tree seeds."""
    ids = [one.passage.id for one in recalled.found]
    return [id.rpartition(":")[2] for id in ids if not id.startswith("v1:airline:carrier:")]


async def write_diaries(agent: AgentNode) -> None:
    for name, text in DIARIES.items():
        await agent.write("v1:memo:diary", name, {"text": text, "ownerUserId": USERS[name].user_id})


def readable_by(kind: str, writer: str, subject: str, reader: str) -> bool:
    """The rules of the tree, in words of its own."""
    if reader == "owner" or kind in ("article", "hint"):
        return True
    if reader == "guest" or kind == "ledger":
        return False
    if kind == "draft":
        return reader == "boss" or reader == writer
    return reader == subject


rows = st.lists(
    st.tuples(
        st.sampled_from(["article", "diary", "draft", "ledger", "remark", "hint"]),
        st.sampled_from(["ann", "bob", "boss"]),
        st.sampled_from(["ann", "bob"]),
    ),
    min_size=1,
    max_size=8,
)


def payload_of(kind: str, subject: str, number: int) -> dict[str, Any]:
    text = f"{TEXT}, number {number}"
    more: Mapping[str, dict[str, Any]] = {
        "article": {"title": text},
        "diary": {"text": text, "ownerUserId": USERS[subject].user_id, "token": "heron secret"},
        "remark": {"text": text, "diaryId": f"v1:memo:diary:{subject}"},
        "hint": {"text": text, "diaryId": f"v1:memo:diary:{subject}"},
    }
    return more.get(kind, {"text": text})


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=rows)
async def test_everybody_finds_what_they_may_read_and_nobody_anything_else(
    agent: AgentNode, many: list[tuple[str, str, str]]
) -> None:
    await agent.node.database.execute("TRUNCATE memory_heads, memory_nodes")
    await write_diaries(agent)
    written: dict[str, tuple[str, str, str]] = {}
    for number, (kind, writer, subject) in enumerate(many):
        await agent.write(f"v1:memo:{kind}", f"r{number}", payload_of(kind, subject, number), USERS[writer])
        written[f"v1:memo:{kind}:r{number}"] = (kind, writer, subject)
    for name, actor in USERS.items():
        recalled = await recall_of(agent).find(QUESTION, actor, 1000)
        found = {one.passage.id for one in recalled.found} & written.keys()
        assert found == {id for id, row in written.items() if readable_by(*row, name)}
        for one in recalled.found:
            assert await agent.node.engine.may_read(await event_of(agent, one.passage.id), actor)
            told = f"{one.passage.text} {one.passage.context}"
            assert "secret" not in told
            for subject, diary in DIARIES.items():
                assert diary not in told or name in (subject, "owner")


async def event_of(agent: AgentNode, id: str) -> Event:
    """An event about a row as it is stored; who may see events is decided apart from reads."""
    row = await agent.node.database.fetch_one(
        "SELECT concept, created_by, payload FROM memory_heads WHERE id = %s AND NOT deleted", (id,)
    )
    assert row is not None
    concept, writer, payload = row
    told = {"concept": concept, "id": id, "nodeId": id, "payload": payload}
    return Event(id="e", topic=f"graph.node.updated.{concept}", body=told, actor=writer)


async def test_deleted_rows_are_not_found(agent: AgentNode) -> None:
    await agent.write("v1:memo:article", "heron", {"title": TEXT})
    assert found_ids(await recall_of(agent).find(QUESTION, USERS["ann"], 5)) == ["heron"]
    await agent.node.engine.execute('delete("v1:memo:article", id="heron")', actor=USERS["owner"])
    assert found_ids(await recall_of(agent).find(QUESTION, USERS["ann"], 5)) == []


async def test_what_the_system_keeps_about_itself_is_never_quoted(agent: AgentNode) -> None:
    await agent.write("v1:platform:globalVariable", "v1", {"name": "HERON", "value": TEXT})
    await agent.write("v1:identity:user", "u9", {"displayName": TEXT, "primaryEmail": "heron@example.org"})
    recalled = await recall_of(agent).find(QUESTION, USERS["owner"], 100)
    assert not {one.passage.concept for one in recalled.found} & {"v1:platform:globalVariable", "v1:identity:user"}


async def test_an_old_row_is_found_by_a_word_it_shares_with_the_question(
    agent: AgentNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 5)
    await agent.write("v1:memo:article", "old", {"title": TEXT})
    for number in range(10):
        await agent.write("v1:memo:article", f"new{number}", {"title": f"Engines have pistons, part {number}"})
    first, *_ = found_ids(await recall_of(agent).find(QUESTION, USERS["ann"], 5))
    assert first == "old"


async def test_equal_data_gives_equal_answers_and_newer_goes_first_among_equals(agent: AgentNode) -> None:
    for number in range(5):
        await agent.write("v1:memo:article", f"a{number}", {"title": TEXT})
    answers = [found_ids(await recall_of(agent).find(QUESTION, USERS["ann"], 3)) for _ in range(3)]
    assert answers == [["a4", "a3", "a2"]] * 3


async def test_a_row_is_quoted_once_with_its_nearest_passage(agent: AgentNode) -> None:
    body = "Engines have pistons and valves. " * 40 + f"{TEXT}, far from every engine. " + "Pistons move fast. " * 40
    await agent.write("v1:memo:article", "long", {"title": "Machines", "body": body})
    recalled = await recall_of(agent).find("Engines with pistons", USERS["ann"], 5)
    assert found_ids(recalled) == ["long"]
    assert recalled.found[0].passage.field == "body"


async def test_the_bounds_hold(agent: AgentNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PASSAGES", 7)
    for number in range(10):
        await agent.write("v1:memo:article", f"a{number}", {"title": f"{TEXT} {number}"})
    assert len((await recall_of(agent).find(QUESTION, USERS["ann"], 100)).found) == 7
    monkeypatch.setattr(module, "MAX_CHARACTERS", 100)
    assert len((await recall_of(agent).find(QUESTION, USERS["ann"], 100)).found) == 2


async def test_a_search_that_takes_too_long_is_left_out_and_told(
    agent: AgentNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.write("v1:memo:article", "heron", {"title": TEXT})
    recall = recall_of(agent)
    article = agent.node.engine.catalog.concepts["v1:memo:article"]
    articles = await recall._readable.newest(article, USERS["ann"], 5)

    async def at_once(concept: Concept, *args: Any) -> list[dict[str, Any]]:
        return articles if concept is article else []

    async def stuck(*args: Any) -> list[dict[str, Any]]:
        await anyio.sleep_forever()
        return []

    monkeypatch.setattr(recall._readable, "newest", at_once)
    monkeypatch.setattr(recall._readable, "matching", stuck)
    monkeypatch.setattr(module, "SEARCH_SECONDS", 0.02)
    recalled = await recall.find(QUESTION, USERS["ann"], 5)
    assert (recalled.partial, found_ids(recalled)) == (True, ["heron"])
    monkeypatch.setattr(recall._readable, "newest", stuck)
    assert (await recall.find(QUESTION, USERS["ann"], 5)).found == []
    monkeypatch.setattr(module, "SEARCH_SECONDS", 30.0)
    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.05)
    with pytest.raises(MemqlError) as caught:
        await recall.find(QUESTION, USERS["ann"], 5)
    assert si_id(caught.value) == "si.timeout"


async def test_a_reload_that_adds_a_concept_is_seen(agent: AgentNode) -> None:
    recall = recall_of(agent)
    await recall.find(QUESTION, USERS["ann"], 5)
    catalog = agent.node.engine.catalog
    without = {key: one for key, one in catalog.concepts.items() if key != "v1:memo:article"}
    await agent.write("v1:memo:article", "heron", {"title": TEXT})
    agent.node.engine.use(replace(catalog, version="other", concepts=without))
    assert found_ids(await recall.find(QUESTION, USERS["ann"], 5)) == []
    agent.node.engine.use(catalog)
    assert found_ids(await recall.find(QUESTION, USERS["ann"], 5)) == ["heron"]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What happened at Denver?", ["happened", "denver"]),
        ("Was ist mit dem Reiher?", ["reiher"]),
        ("¿Qué pasó con la garza?", ["pasó", "garza"]),
        ("the war", ["war"]),
        ("heron", ["heron"]),
        ("what is it", []),
        ("?!", []),
    ],
)
async def test_the_words_searched_for_are_those_that_say_something(
    agent: AgentNode, question: str, words: list[str]
) -> None:
    assert await search_words(question, agent.node.database) == words
    assert search_text(words) == " or ".join(f'"{word}"' for word in words)


async def test_a_caller_without_an_account_finds_nothing_of_concepts_without_a_rule(agent: AgentNode) -> None:
    await agent.write("v1:memo:draft", "d", {"text": TEXT})
    service = Actor(role="reader", principal="service:x")
    assert found_ids(await recall_of(agent).find(QUESTION, service, 5)) == []
