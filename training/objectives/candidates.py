"""Candidates: translations of a segment that a model samples, the worst of them to be rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.evaluate.metrics import chrf_of_each
from training.objective import CandidateRule
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.evaluate.generate import Generator

_SAMPLER: Final = "sampler"
_REFERENCE_SCORE: Final = 100.0


@dataclass(frozen=True)
class Candidates:
    """Samples translations with the base of a recipe, or with the adapter in a folder."""

    recipe: Recipe
    base: Path
    rule: CandidateRule
    adapter: Path | None
    on_progress: Callable[[int], None]

    def preferences(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return the segments with a rejected translation, in their order.

        Those whose candidates are all as good as what is chosen are left out; those that have a
        rejected translation stay as they are.
        """
        lacking = [n for n, segment in enumerate(segments) if segment.rejected is None]
        made: dict[int, Segment | None] = dict(enumerate(segments))
        for n, texts in zip(lacking, self._sample([segments[n] for n in lacking]), strict=True):
            made[n] = preference_of(segments[n], texts, self.rule)
        return [segment for segment in made.values() if segment is not None]

    def _sample(self, segments: Sequence[Segment]) -> list[list[str]]:
        recipe, count = self.recipe, self.rule.per_segment
        prompt = recipe.prompt.complete(self.base)
        sources = [segment.source for segment in segments for _ in range(count)]
        if not sources:
            return []
        limits = {s: len(self._tokenizer.encode_text(s)) for s in set(sources)}
        answers = self._generator.generate(
            [prompt.encode(source, recipe.pair, self._tokenizer) for source in sources],
            stop_token_ids=prompt.stop_token_ids,
            max_tokens=[recipe.decoding.max_tokens(limits[source]) for source in sources],
            adapter=_SAMPLER if self.adapter else None,
            temperature=self.rule.temperature,
            seed=recipe.seed,
            batch_size=recipe.evaluate.batch_size,
            on_progress=self.on_progress,
        )
        texts = [answer.text for answer in answers]
        return [texts[start : start + count] for start in range(0, len(texts), count)]

    @cached_property
    def _generator(self) -> Generator:
        from training.evaluate.generate import Generator

        return Generator.load(self.base, {_SAMPLER: self.adapter} if self.adapter else {})

    @cached_property
    def _tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer.load(self.base)


def preference_of(segment: Segment, texts: Sequence[str], rule: CandidateRule) -> Segment | None:
    """Return the segment with the worst of `texts` by sentence chrF++ as the rejected one.

    None where it is within `rule.min_margin` of what is chosen, or where nothing was said.
    """
    said = [text for text in dict.fromkeys(texts) if text.strip()]
    if not said:
        return None
    scores = chrf_of_each(said, [segment.target] * len(said))
    worst, best = int(scores.argmin()), int(scores.argmax())
    of_reference = rule.chosen == "reference"
    score = _REFERENCE_SCORE if of_reference else float(scores[best])
    if (worst == best and not of_reference) or score - float(scores[worst]) < rule.min_margin:
        return None
    chosen = segment.target if of_reference else said[best]
    return replace(segment, target=chosen, rejected=said[worst])
