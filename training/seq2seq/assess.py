"""How the candidate and its base translate the test set, when the base is sequence-to-sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.assess import Assessed
from training.corpus.segment import Segment
from training.evaluate.scores import Outputs
from training.recipe import Recipe
from training.seq2seq.ask import tokenizer_for
from training.seq2seq.family import Family

if TYPE_CHECKING:
    from training.seq2seq.tokenizer import PairTokenizer

NO_EXAMPLES: Final = "no examples"


@dataclass(frozen=True)
class PairSystems:
    """What is compared: what was trained, in `candidate`, and its base."""

    recipe: Recipe
    base: Path
    family: Family
    candidate: Path
    on_progress: Callable[[int], None]

    def assess(self, test: Sequence[Segment]) -> Assessed:
        """Return all translations of `test`, greedy, with the same limits.

        The base is shown no examples: such a model translates whatever stands in its source. No
        server serves the candidate, so there is no golden answer to check one by.
        """
        base = self._texts(None, test)
        candidate = self._texts(self.candidate, test)
        outputs = Outputs(
            sources=[segment.source for segment in test],
            references=[segment.target for segment in test],
            candidate=candidate,
            base=base,
        )
        return Assessed(outputs, (), NO_EXAMPLES)

    @cached_property
    def _tokenizer(self) -> PairTokenizer:
        return tokenizer_for(self.recipe, self.base, self.family)

    def _texts(self, trained: Path | None, test: Sequence[Segment]) -> list[str]:
        from training.seq2seq.generate import PairGenerator

        # One model at a time: PiSSA and its like take part of the base away, so an adapter that
        # is switched off leaves no base.
        generator = PairGenerator.load(self.base, self._tokenizer, trained)
        sources = [segment.source for segment in test]
        decoding = self.recipe.decoding
        answers = generator.generate(
            sources,
            max_tokens=[
                decoding.max_tokens(len(self._tokenizer.encode_text(source))) for source in sources
            ],
            batch_size=self.recipe.evaluate.batch_size,
            on_progress=self.on_progress,
        )
        return [answer.text for answer in answers]
