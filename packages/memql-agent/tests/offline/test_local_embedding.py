"""Embeddings whose weights come in a wheel."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import anyio
import numpy as np
import pytest
import wordllama

from memql.agent import local_embedding
from memql.agent.local_embedding import DIMS, MAX_CHARACTERS, MAX_TEXTS, MODEL, LocalEmbedding
from memql.auth import local_owner
from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import si_id
from memql.engine.tools.model_ports import Bound
from memql.errors import MemqlError
from memql.lang.catalog import Provider
from memql.lang.loader import load_tree, read_sources

pytestmark = pytest.mark.anyio

CTX = RequestContext(actor=local_owner())
TEXTS = ["Roses need water.", "Ein Satz auf Deutsch", "x", "🌹 rosas", "A longer text about engines. " * 200]


@pytest.fixture
def bound() -> Bound:
    provider: Provider = load_tree(read_sources()).require().providers["localEmbed"]
    return Bound(provider)


async def test_vectors_are_the_librarys_own_and_say_which_space_they_are_of(bound: Bound) -> None:
    found = await LocalEmbedding().embed(bound, TEXTS, CTX)
    assert (found.model, found.dims) == (MODEL, DIMS) == (bound.provider.model, 256)
    library = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        (expected,) = library.embed([text], norm=True)
        assert np.asarray(vector, dtype=np.float32).tolist() == vector
        np.testing.assert_allclose(vector, expected, atol=1e-6)
        assert abs(np.linalg.norm(vector) - 1) < 1e-5


async def test_a_text_has_the_same_vector_whatever_it_is_embedded_with(bound: Bound) -> None:
    embedding = LocalEmbedding()
    alone = await embedding.embed(bound, TEXTS[:1], CTX)
    together = await embedding.embed(bound, [*TEXTS[1:], TEXTS[0]], CTX)
    assert alone.vectors[0] == together.vectors[-1]


async def test_near_texts_are_nearer_than_far_ones() -> None:
    question, near, far = await LocalEmbedding().vectors(
        ["How do I water roses?", "Roses need water every day.", "The engine has four cylinders."]
    )
    assert question @ near > 0.5 > question @ far


async def test_a_text_without_a_known_word_is_near_to_nothing() -> None:
    (nothing,) = await LocalEmbedding().vectors([""])
    assert not nothing.any()
    assert (await LocalEmbedding().vectors([])).shape == (0, DIMS)


@pytest.mark.parametrize(
    "texts", [["a", "  "], ["x" * (MAX_CHARACTERS + 1)], ["x"] * (MAX_TEXTS + 1), ["x" * MAX_CHARACTERS] * 200]
)
async def test_too_much_and_nothing_are_refused(bound: Bound, texts: list[str]) -> None:
    with pytest.raises(MemqlError) as caught:
        await LocalEmbedding().embed(bound, texts, CTX)
    assert si_id(caught.value) == "si.invalid_request"


async def test_a_cancelled_batch_stops_within_a_few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release, slices = threading.Event(), threading.Event(), []

    def slow(texts: list[str]) -> np.ndarray:
        slices.append(len(texts))
        begun.set()
        assert release.wait(30)
        return np.zeros((len(texts), DIMS), dtype=np.float32)

    monkeypatch.setattr(local_embedding, "_embed", slow)
    embedding = LocalEmbedding()
    async with anyio.create_task_group() as group:
        group.start_soon(embedding.vectors, ["x"] * 1000)
        with anyio.fail_after(30):
            await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    release.set()
    with anyio.fail_after(30):
        while embedding._limiter.borrowed_tokens:  # noqa: ASYNC110  a thread
            await anyio.sleep(0.01)
    assert len(slices) == 1


PROGRAM = """
import logging, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a network call")
socket.socket.connect = refuse
import anyio
import memql.agent.handlers, memql.agent.offline
from memql.agent.local_embedding import LocalEmbedding
assert "wordllama" not in sys.modules and "numpy" not in sys.modules
anyio.run(LocalEmbedding().vectors, ["a", "b"])
assert "wordllama" in sys.modules
root = logging.getLogger()
print(root.level == logging.WARNING, root.handlers)
"""


def test_weights_are_read_on_first_use_from_the_package_and_logging_stays_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True []"
    assert not list(tmp_path.iterdir())
