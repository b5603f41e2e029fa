"""Likelihoods: how sure a model is of references it was trained on, and of some it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from training.asker import Asker
from training.corpus.segment import Segment
from training.encode import Encoder
from training.evaluate.label_perplexity import label_perplexity

# Of each part: a hundred sentences tell perplexity within a few percent, in seconds.
_MOST: Final = 96


@dataclass(frozen=True)
class Likelihoods:
    """Perplexity of references after the adapter's own prompt, on their label tokens only.

    Of an adapter, and of its base asked the same, on a part of what was trained on, on dev, and on
    the test set. Lower is better. A base that was never taught the prompt is lost after it.
    """

    train: float
    dev: float
    test: float
    base_train: float
    base_dev: float
    base_test: float
    signature: str

    @property
    def overfitting(self) -> float:
        """How many times that of the training text the perplexity of dev is; 1 is none."""
        return self.dev / self.train

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; Likelihoods(**…) reads them back."""
        return asdict(self)


def likelihoods(
    asker: Asker, adapter: str, parts: Sequence[Sequence[Segment]]
) -> Likelihoods | None:
    """Return the perplexities of `parts` (train, dev, test); None where a part has no text.

    `adapter` is its name in `asker`. Segments beyond the recipe's `max_length` are left out, as
    training does.
    """
    schedule, limit = asker.recipe.schedule, asker.recipe.evaluate.limit
    most = _MOST if limit is None else min(_MOST, limit)
    encoder = Encoder(
        asker.own_prompt, asker.recipe.pair, asker.tokenizer, max_length=schedule.max_length
    )
    rows = [
        [(r.prompt_ids, r.target_ids) for r in encoder.encode_all(_spread(part, most))[0]]
        for part in parts
    ]
    if not all(rows):
        return None
    own = [label_perplexity(asker.generator, part, adapter=adapter) for part in rows]
    base = [label_perplexity(asker.generator, part, adapter=None) for part in rows]
    train, dev, test = (found.value for found in own)
    base_train, base_dev, base_test = (found.value for found in base)
    return Likelihoods(train, dev, test, base_train, base_dev, base_test, own[-1].signature)


def _spread(part: Sequence[Segment], most: int) -> Sequence[Segment]:
    """Return at most `most` segments from all over the part."""
    return part[:: max(1, len(part) // most)][:most]
