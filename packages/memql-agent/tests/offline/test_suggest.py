"""``si_suggest`` on a real node, and what reaches it from the language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import wordllama

from memql.agent.local_embedding import MAX_TEXTS, MODEL
from memql.client import Client, Code, MemqlError
from memql.node import open_node

from .conftest import AgentNode

pytestmark = pytest.mark.anyio

STORY = (
    "The heron stood in the reeds. The heron waited for fish. A tractor passed by on the road. "
    "The heron caught a fish in the reeds. Then it rained."
)


async def refusal(client: Client, domain: str, payload: dict[str, Any]) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await client.si.suggest(domain, payload)
    return caught.value


async def test_an_unknown_domain_is_told_which_there_are(either: AgentNode) -> None:
    async with either.connect("bob") as client:
        error = await refusal(client, "horoscope", {})
    assert (error.code, error.details["si"]) == (Code.INVALID_ARGUMENT, "si.invalid_request")
    assert error.details["domains"] == ["documentSummary", "embedding", "similar", "spaceTitle"]
    assert error.error_id.startswith("ERR-")


async def test_embeddings_are_the_librarys_own(either: AgentNode) -> None:
    texts = ["Roses need water.", "Ein Satz auf Deutsch"]
    async with either.connect("bob") as client:
        found = await client.si.embed(texts)
    assert (found.model, found.dims) == (MODEL, 256)
    library = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    for text, vector in zip(texts, found.vectors, strict=True):
        np.testing.assert_allclose(vector, library.embed([text], norm=True)[0], atol=1e-6)


async def test_a_thousand_texts_in_one_batch_come_back_in_order_and_hold_nobody_up(either: AgentNode) -> None:
    texts = [f"Text number {number} about herons" for number in range(1000)]
    async with either.connect("bob") as client, either.connect("ann") as other:
        answers: list[Any] = []
        asked_meanwhile = 0
        async with anyio.create_task_group() as group:

            async def embed() -> None:
                answers.append(await client.si.embed(texts))

            group.start_soon(embed)
            with anyio.fail_after(60):
                while not answers:
                    await other.my_access()
                    asked_meanwhile += 1
        assert asked_meanwhile > 1
        (found,) = answers
        assert len(found.vectors) == 1000
        first, last = await client.si.embed([texts[0]]), await client.si.embed([texts[-1]])
    assert (found.vectors[0], found.vectors[-1]) == (first.vectors[0], last.vectors[0])


@pytest.mark.parametrize(
    ("domain", "payload", "part"),
    [
        ("embedding", {}, "texts must be a list"),
        ("embedding", {"texts": []}, "texts must be a list"),
        ("embedding", {"texts": ["a", 5]}, "texts must be a list"),
        ("embedding", {"texts": ["a", " "]}, "text 1 is blank"),
        ("embedding", {"texts": ["x"] * (MAX_TEXTS + 1)}, f"at most {MAX_TEXTS}"),
        ("embedding", {"texts": ["a"], "provider": "extractive"}, "needs embedding"),
        ("embedding", {"texts": ["a"], "provider": 5}, "provider must be a text"),
        ("similar", {"candidates": ["a"]}, "text must be"),
        ("similar", {"text": "a", "candidates": "b"}, "candidates must be"),
        ("similar", {"text": "a", "candidates": ["b"], "limit": 0}, "limit must be"),
        ("spaceTitle", {"text": "..."}, "no sentence"),
        ("documentSummary", {"text": 5}, "text must be"),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused(
    agent: AgentNode, domain: str, payload: dict[str, Any], part: str
) -> None:
    async with agent.connect("bob") as client:
        error = await refusal(client, domain, payload)
    assert error.code is Code.INVALID_ARGUMENT
    assert part in error.message


async def test_similar_texts_come_nearest_first(agent: AgentNode) -> None:
    candidates = ["The engine has pistons", "Roses need water every day", "roses and water"]
    async with agent.connect("bob") as client:
        found = await client.si.suggest("similar", {"text": "water for roses", "candidates": candidates, "limit": 2})
    assert (found["model"], found["dims"]) == (MODEL, 256)
    assert [one["index"] for one in found["results"]] == [2, 1]
    assert found["results"][0]["text"] == candidates[2]
    assert 1 >= found["results"][0]["similarity"] > found["results"][1]["similarity"] > 0


async def test_titles_and_summaries_are_sentences_of_the_text_and_say_that_no_model_wrote_them(
    agent: AgentNode,
) -> None:
    async with agent.connect("bob") as client:
        titled = await client.si.suggest("spaceTitle", {"text": STORY})
        summed = await client.si.suggest("documentSummary", {"text": STORY, "sentences": 2})
    assert titled["title"] in STORY
    assert "heron" in titled["title"]
    assert len(titled["title"]) <= 60
    assert len(summed["sentences"]) == 2
    assert summed["summary"] == " ".join(summed["sentences"])
    assert all(sentence in STORY and "heron" in sentence for sentence in summed["sentences"])
    assert {titled["source"]["degraded"], summed["source"]["degraded"]} == {"no_model"}


async def test_the_language_reaches_embeddings_through_builtins(agent: AgentNode) -> None:
    async with agent.connect("bob") as client:
        (vectors,) = (await client.query("embedText", texts=["a heron"])).rows
        assert (vectors["model"], len(vectors["vectors"][0])) == (MODEL, 256)
        rows = (await client.query("similarTexts", text="roses", candidates=["engines", "a rose"], limit=1)).rows
        assert [(row["index"], row["text"]) for row in rows] == [(1, "a rose")]
    async with agent.connect("guest") as guest:
        with pytest.raises(MemqlError) as caught:
            await guest.query("embedText", texts=["a heron"])
        assert caught.value.code is Code.FORBIDDEN


async def test_a_node_without_the_role_loads_and_says_what_is_missing(agent: AgentNode) -> None:
    settings = agent.node.settings.model_copy(update={"node_id": "other"})
    async with open_node(settings, roles=[]) as other:
        bare = AgentNode(other)
        async with bare.connect("bob") as client:
            for ask in (client.si.chat("hello"), client.si.suggest("embedding", {"texts": ["a"]})):
                with pytest.raises(MemqlError) as caught:
                    await ask
                assert caught.value.code is Code.UNIMPLEMENTED
            with pytest.raises(MemqlError, match=r"integration\.si\.embedText") as caught:
                await client.query("embedText", texts=["a"])
            assert caught.value.code is Code.UNAVAILABLE
