"""chrF++ on dev of a model that is being trained: the decoding and the score of the evaluation."""

from __future__ import annotations

from typing import Final

from training.evaluate.generate import Generator
from training.evaluate.metrics import chrf
from training.fit import ranks
from training.fit.dev_texts import DevTexts
from training.methods.attach import Adapted

_NAME: Final = "default"  # PEFT's, of what is trained


class DevChrf:
    """Translates dev greedily with the model as it stands; each process has its share."""

    def __init__(self, adapted: Adapted, texts: DevTexts) -> None:
        self._texts = texts.part(ranks.rank(), ranks.count())
        self._generator = Generator.around(adapted, _NAME, texts.tokenizer)

    def __call__(self) -> float:
        """Return chrF++ of all segments, the same number in every process."""
        answers = self._generator.generate(
            self._texts.prompts,
            stop_token_ids=self._texts.stop_token_ids,
            max_tokens=self._texts.max_tokens,
            adapter=_NAME,
            batch_size=self._texts.batch_size,
        )
        own = [(a.text, r) for a, r in zip(answers, self._texts.references, strict=True)]
        pairs = [pair for part in ranks.gather(own) for pair in part]
        return chrf([text for text, _ in pairs], [reference for _, reference in pairs]).value
