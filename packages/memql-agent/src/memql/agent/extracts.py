"""Titles and summaries taken out of a text, not written: its most central sentences (spec "Specialists, factory,
suggest")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

__all__ = ["MAX_SENTENCES", "central", "sentences_of", "shortened"]

MAX_SENTENCES: Final = 500
"""Of a longer text the beginning is looked at."""
_SENTENCE: Final = re.compile(r"[^\n.!?…。]+(?:[.!?…。]+|\n|$)")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each once, in order."""
    found = (" ".join(match.split()) for match in _SENTENCE.findall(text))
    return list(dict.fromkeys(one for one in found if any(map(str.isalnum, one))))[:MAX_SENTENCES]


def central(vectors: Matrix, count: int) -> list[int]:
    """The places of the sentences nearest to the middle of all of them, in the order of the text.

    :param vectors: one of length one for each sentence.
    """
    nearness = (vectors @ vectors.mean(axis=0)).round(6).tolist()
    best: Sequence[int] = sorted(range(len(nearness)), key=lambda place: (-nearness[place], place))[:count]
    return sorted(best)


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` characters, cut between words, without the stop at its end."""
    text = text.strip().rstrip(".!?…。:;,").strip()
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut else cut}…"
