"""The base as a contender: no example, a few fixed ones, or those nearest to each segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.errors import RecipeInvalid
from adapters.prompt import Example
from training.asker import CHOICE_SEGMENTS, Asker, ExamplesOf
from training.augment.nearest import Nearest
from training.comparison.answered import Answered, clocked
from training.comparison.ground import Ground
from training.comparison.modelled import translated
from training.comparison.spec import BaseSystem
from training.corpus.segment import Segment
from training.examples import examples_from
from training.seq2seq.family import Family, family_of

# `base` and `few-shot` differ in their examples: one model in memory serves both.
AskerFor = Callable[[Callable[[int], None]], Asker]


@dataclass(frozen=True)
class BaseContender:
    """The base of the recipe; how it is asked, in turns or as plain text, dev decides."""

    ground: Ground
    spec: BaseSystem
    asker_for: AskerFor

    def identity(self) -> Mapping[str, Any]:
        """Return base, recipe and examples."""
        return {
            "base": self.ground.reference.fingerprint,
            "recipe": self.ground.recipe.digest,
            "train": [s.digest for s in self.ground.data.report.sources],
            **self.spec.model_dump(),
        }

    def answer(self) -> Answered:
        """Return the base's translations. Raises RecipeInvalid."""
        family = family_of(self.ground.base)
        if family is not None:
            return self._of_pairs(family)
        text = self.ground.text
        chosen_by = 2 * min(len(text.dev), CHOICE_SEGMENTS)
        examples = self._examples()
        with clocked(len(text.test), skip=chosen_by) as clock:
            asker = self.asker_for(clock.advance)
            _ = asker.generator, asker.tokenizer  # loaded before the clock starts
            clock.advance(0)
            asked = asker.base_answers(text.test, text.dev, examples)
            seconds = clock.seconds
        return Answered(
            asked.texts,
            seconds,
            asked.prompt_tokens,
            asked.completion_tokens,
            f"the base, {self._shown()}, asked {asked.how}",
        )

    def _shown(self) -> str:
        if self.spec.retrieved:
            return f"{self.spec.retrieved} nearest training pairs of each segment"
        return f"{self.spec.shots} examples" if self.spec.shots else "no example"

    def _examples(self) -> ExamplesOf:
        train = self.ground.text.train
        if self.spec.retrieved:
            return Memory(train, self.spec.retrieved).examples_of
        fixed = examples_from(train, self.spec.shots)
        return lambda _: fixed

    def _of_pairs(self, family: Family) -> Answered:
        from training.seq2seq.ask import tokenizer_for
        from training.seq2seq.generate import PairGenerator
        from training.translate.translator import Decoder, PairTranslator

        if self.spec.shots or self.spec.retrieved:
            raise RecipeInvalid(
                f"a {family} base reads one text, without examples; use base: {{shots: 0}}"
            )
        recipe, base = self.ground.recipe, self.ground.base
        tokenizer = tokenizer_for(recipe, base, family)
        generator = PairGenerator.load(base, tokenizer)
        decoder = Decoder(batch_size=recipe.evaluate.batch_size)
        pairs = PairTranslator(recipe.pair, generator, tokenizer, recipe.decoding, decoder)
        return translated(pairs, self.ground.test, "the base, which is never shown examples")


class Memory:
    """Training pairs as examples: the nearest of each segment, the most similar last.

    Where too few have a word in common with it, the fixed examples come first.
    """

    def __init__(self, train: Sequence[Segment], most: int) -> None:
        self._nearest = Nearest(train)
        self._fixed = examples_from(train, most)
        self._most = most

    def examples_of(self, segment: Segment) -> list[Example]:
        """Return what the base is shown before `segment`."""
        near = self._nearest.like(segment, most=self._most, min_overlap=0)
        found = [Example(source=s.source, target=s.target) for s in near]
        others = [example for example in self._fixed if example not in found]
        return [*others[: self._most - len(found)], *found]
