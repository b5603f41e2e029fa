"""Likelihood: how much more likely a causal model finds one side of a pair after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.base_model import BaseModelRef
from adapters.ids import LanguagePair
from adapters.prompt import Example, PromptFormat
from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.encode import Encoded, Encoder, SegmentTooLong
from training.recipe import Recipe
from training.score.batches import batches
from training.score.way import Way

if TYPE_CHECKING:
    from training.evaluate.generate import Generator

_ADAPTER: Final = "scorer"


@dataclass(frozen=True)
class Model:
    """The base in folder `base`, and an adapter of it, if any."""

    base: Path
    adapter: Path | None = None


@dataclass(frozen=True)
class Likelihood:
    """Scores pairs by pointwise mutual information, in nats a token of the side that is predicted.

    That is the mean log-probability of a target in the recipe's prompt, less that of the same
    target in the same prompt with no source in it, so that rare words do not count against a
    pair. Both ways it is the lesser of the two, after dual conditional cross-entropy
    (Junczys-Dowmunt 2018, arXiv 1809.00197). All segments are of `pair`; what is longer than
    schedule.max_length has no score, as training drops it.
    """

    recipe: Recipe
    pair: LanguagePair
    model: Model
    way: Way
    on_progress: Callable[[int], None]

    @property
    def signature(self) -> str:
        """What the scores depend on."""
        prompt = self._prompt.model_dump_json().encode()
        parts = {
            "pmi": f"per-token-of-{self.way}",
            "pair": self.pair,
            "base": BaseModelRef.read(self.model.base),
            "adapter": self.model.adapter or "none",
            "prompt": hashlib.sha256(prompt).hexdigest()[:8],
            "examples": len(self._prompt.examples),
            "max_length": self.recipe.schedule.max_length,
        }
        return "|".join(f"{name}:{value}" for name, value in parts.items())

    def scores(self, segments: Sequence[Segment]) -> Iterator[float | None]:
        """Yield the score of each segment, in their order; None for what is too long."""
        by_way = [self._one_way(segments, back=back) for back in self.way.forth_and_back]
        for found in zip(*by_way, strict=True):
            known = [score for score in found if score is not None]
            yield min(known) if len(known) == len(found) else None

    def _one_way(self, segments: Sequence[Segment], *, back: bool) -> list[float | None]:
        encoder = self._encoder(back=back)
        rows = dict(_encoded(segments, encoder, back=back))
        self.on_progress(len(segments) - len(rows))
        found: dict[int, float] = {}
        # An adapter of one direction has not learnt the other: there its base does better.
        adapter = _ADAPTER if self.model.adapter and encoder.pair in self.recipe.pairs else None
        bare = encoder.prompt.encode("", encoder.pair, encoder.tokenizer)
        for batch in batches(rows, size=self.recipe.evaluate.batch_size):
            targets = [rows[n].target_ids for n in batch]
            after, alone = (
                self._generator.logprobs(prompts, targets, adapter=adapter, batch_size=len(batch))
                for prompts in ([rows[n].prompt_ids for n in batch], [bare] * len(batch))
            )
            for n, given, without in zip(batch, after, alone, strict=True):
                found[n] = (given - without) / len(rows[n].target_ids)
            self.on_progress(len(batch))
        return [found.get(n) for n in range(len(segments))]

    def _encoder(self, *, back: bool) -> Encoder:
        pair = self.pair.reverse if back else self.pair
        prompt = _reversed(self._prompt) if back else self._prompt
        return Encoder(prompt, pair, self._tokenizer, self.recipe.schedule.max_length)

    @cached_property
    def _prompt(self) -> PromptFormat:
        return self.recipe.prompt.complete(self.model.base)

    @cached_property
    def _generator(self) -> Generator:
        from training.evaluate.generate import Generator

        adapter = self.model.adapter
        return Generator.load(self.model.base, {_ADAPTER: adapter} if adapter else {})

    @cached_property
    def _tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer.load(self.model.base)


def _encoded(
    segments: Sequence[Segment], encoder: Encoder, *, back: bool
) -> Iterator[tuple[int, Encoded]]:
    for n, segment in enumerate(segments):
        try:
            yield n, encoder.encode(segment.reversed() if back else segment)
        except SegmentTooLong:
            continue


def _reversed(prompt: PromptFormat) -> PromptFormat:
    examples = tuple(Example(source=e.target, target=e.source) for e in prompt.examples)
    return prompt.model_copy(update={"examples": examples})
