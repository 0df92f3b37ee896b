"""The suggestion domains that the agent role brings: embeddings, likeness, and extracts of given texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from memql.agent.extracts import central, sentences_of, shortened
from memql.agent.local_embedding import MAX_TEXTS, MAX_TOTAL_CHARACTERS, LocalEmbedding
from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import si_error
from memql.engine.tools.models import Models

__all__ = ["Suggestions"]

_TITLE_CHARACTERS: Final = 60
_SUMMARY_SENTENCES: Final = 3
_EXTRACTED: Final[Mapping[str, str]] = {"provider": "extractive", "degraded": "no_model"}


class Suggestions:
    """The domains, and the executors that reach the first two from the language."""

    def __init__(self, models: Models, embedding: LocalEmbedding) -> None:
        self._models = models
        self._embedding = embedding

    def register(self) -> None:
        """Add the domains to the node's."""
        for name, domain in (
            ("embedding", self.embedding),
            ("similar", self.similar),
            ("spaceTitle", self.space_title),
            ("documentSummary", self.document_summary),
        ):
            self._models.register_domain(name, domain)

    async def embedding(self, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{texts, provider?}`` to ``{model, dims, vectors}``."""
        texts = _texts(payload, "texts")
        found = await self._models.embed(texts, ctx, route=_optional_text(payload, "provider"))
        return {"model": found.model, "dims": found.dims, "vectors": found.vectors}

    async def similar(self, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{text, candidates, limit?, provider?}`` to ``{model, dims, results: [{index, text, similarity}]}``, nearest
        first."""
        text, candidates = _text(payload, "text"), _texts(payload, "candidates", most=MAX_TEXTS - 1)
        found = await self._models.embed([text, *candidates], ctx, route=_optional_text(payload, "provider"))
        ranked = _ranked(found.vectors, candidates)[: _limit(payload, len(candidates))]
        return {"model": found.model, "dims": found.dims, "results": ranked}

    async def embed_text(self, args: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """:meth:`embedding` as an executor."""
        return await self.embedding(args, ctx)

    async def similar_texts(self, args: Mapping[str, Any], ctx: RequestContext) -> list[dict[str, Any]]:
        """The results of :meth:`similar` as an executor."""
        results: list[dict[str, Any]] = (await self.similar(args, ctx))["results"]
        return results

    async def space_title(self, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{text}`` to ``{title, source}``: its most central sentence, at most 60 characters."""
        sentences = _sentences(payload)
        (place,) = central(await self._embedding.vectors(sentences), 1)
        return {"title": shortened(sentences[place], _TITLE_CHARACTERS), "source": dict(_EXTRACTED)}

    async def document_summary(self, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{text, sentences?}`` to ``{summary, sentences, source}``: its most central sentences in their order."""
        sentences = _sentences(payload)
        count = _limit(payload, _SUMMARY_SENTENCES, "sentences")
        chosen = [sentences[place] for place in central(await self._embedding.vectors(sentences), count)]
        return {"summary": " ".join(chosen), "sentences": chosen, "source": dict(_EXTRACTED)}


def _ranked(vectors: Sequence[Sequence[float]], candidates: Sequence[str]) -> list[dict[str, Any]]:
    import numpy as np

    matrix = np.asarray(vectors, dtype=np.float32)
    nearness = (matrix[1:] @ matrix[0]).tolist()
    found = [
        {"index": index, "text": text, "similarity": round(similarity, 4)}
        for index, (text, similarity) in enumerate(zip(candidates, nearness, strict=True))
    ]
    return sorted(found, key=lambda one: (-one["similarity"], one["index"]))


# --- payloads --------------------------------------------------------------------------------------------------------


def _sentences(payload: Mapping[str, Any]) -> list[str]:
    sentences = sentences_of(_text(payload, "text"))
    if not sentences:
        raise si_error("si.invalid_request", "text has no sentence in it")
    return sentences


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value.strip():
        raise si_error("si.invalid_request", f"{name} must be a text that is not blank")
    if len(value) > MAX_TOTAL_CHARACTERS:
        raise si_error("si.invalid_request", f"{name} has more than {MAX_TOTAL_CHARACTERS} characters")
    return value


def _optional_text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise si_error("si.invalid_request", f"{name} must be a text")
    return value


def _texts(payload: Mapping[str, Any], name: str, most: int = MAX_TEXTS) -> list[str]:
    value = payload.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise si_error("si.invalid_request", f"{name} must be a list of texts that is not empty")
    if len(value) > most:
        raise si_error("si.invalid_request", f"{name} has {len(value)} texts; at most {most} are taken")
    return value


def _limit(payload: Mapping[str, Any], default: int, name: str = "limit") -> int:
    value = payload.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise si_error("si.invalid_request", f"{name} must be a whole number above 0")
    return value
