"""Embeddings without a vendor: static word vectors whose weights come in a wheel (spec "No key at all").

The weights are read once per process, in a worker thread, from the installed package; nothing is ever downloaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import si_error
from memql.engine.tools.model_ports import Bound, Embeddings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

__all__ = ["DIMS", "MAX_CHARACTERS", "MAX_TEXTS", "MAX_TOTAL_CHARACTERS", "MODEL", "LocalEmbedding"]

MODEL: Final = "wordllama-l2-supercat-256"
DIMS: Final = 256

MAX_TEXTS: Final = 1024
"""Texts of one call."""
MAX_CHARACTERS: Final = 32_768
"""Characters of one text."""
MAX_TOTAL_CHARACTERS: Final = 4 * 1024 * 1024
"""Characters of all texts of one call."""

_SLICE: Final = 32
"""Texts between two looks at whether the caller still waits."""

_loading = threading.Lock()
_loaded: list[Any] = []


class LocalEmbedding:
    """The client for providers of type ``LocalEmbedding``. One text is computed at a time on each node, so that a large
    batch takes one core at most."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def embed(self, bound: Bound, texts: Sequence[str], ctx: RequestContext) -> Embeddings:
        """One vector per text, of length one.

        :raises MemqlError: ``si.invalid_request`` for a blank text, or for more and longer ones than the limits of
            this module.
        """
        _check(texts)
        vectors = await self.vectors(texts)
        return Embeddings(model=MODEL, dims=DIMS, vectors=vectors.tolist())

    async def vectors(self, texts: Sequence[str]) -> Matrix:
        """The same as a matrix, one row per text, without the limits; a text without a known word is all zeros.

        A cancelled call stops within a few texts.
        """
        import numpy as np

        rows: list[Matrix] = []
        for start in range(0, len(texts), _SLICE):
            work = partial(_embed, texts[start : start + _SLICE])
            rows.append(await anyio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True))
        return np.concatenate(rows) if rows else np.empty((0, DIMS), dtype=np.float32)


def _check(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise si_error("si.invalid_request", f"{len(texts)} texts in one call; at most {MAX_TEXTS} are taken")
    if sum(map(len, texts)) > MAX_TOTAL_CHARACTERS:
        raise si_error("si.invalid_request", f"the texts have more than {MAX_TOTAL_CHARACTERS} characters together")
    for number, text in enumerate(texts):
        if not text.strip():
            raise si_error("si.invalid_request", f"text {number} is blank; there is nothing to embed")
        if len(text) > MAX_CHARACTERS:
            raise si_error(
                "si.invalid_request", f"text {number} has {len(text)} characters; at most {MAX_CHARACTERS} are taken"
            )


def _embed(texts: Sequence[str]) -> Matrix:
    import numpy as np

    model = _model()
    # One at a time: in a batch the library pads every text to the longest one.
    pooled: Matrix = np.concatenate([model.embed([text]) for text in texts])
    lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
    normalised: Matrix = np.divide(pooled, lengths, out=np.zeros_like(pooled), where=lengths > 0)
    return normalised


def _model() -> Any:
    with _loading:
        if not _loaded:
            _loaded.append(_load())
        return _loaded[0]


def _load() -> Any:
    # The library configures the root logger when it is imported, unless that has a handler.
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        import wordllama
    finally:
        root.removeHandler(handler)
    package = wordllama.__file__
    assert package is not None
    return wordllama.WordLlama.load(cache_dir=Path(package).parent, disable_download=True)
