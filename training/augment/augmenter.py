"""Augmenter: a training segment as the model is to meet it, by the rules of a recipe."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final, Self

from adapters.ids import LanguagePair
from training.augment.nearest import Nearest
from training.augment.noise import Vocabulary
from training.augment.rules import AugmentRules
from training.augment.steps import Corpus, examples_for, steps
from training.augment.terms import Terms, read_terms
from training.corpus.segment import Segment
from training.corpus.shown import Shown

_EXAMPLES: Final = "examples"


class Augmenter:
    """Changes segments one at a time: the same segment, rules, seed and corpus, the same result.

    So neither the order of segments nor the number of processes matters, and what comes twice in
    an epoch is changed alike. `counts` tells how many segments were changed, by kind.
    """

    def __init__(self, rules: AugmentRules, corpus: Corpus, *, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._corpus = corpus
        self._seed = seed
        self._steps = [step for step in steps(rules, corpus) if rules.share_of(step[0])]

    @classmethod
    def of(
        cls,
        rules: AugmentRules,
        train: Sequence[Segment],
        *,
        pairs: Sequence[LanguagePair],
        folder: Path,
        seed: int,
    ) -> Self:
        """Return the augmenter of a training part, which alone gives words and examples.

        Raises DataInvalid if the file of terms, whose path starts in `folder`, cannot be read.
        """
        corpus = Corpus(
            pair=pairs[0],
            vocabularies=_vocabularies(train, pairs[0]) if rules.insertion else {},
            nearest=Nearest(train if rules.share_of(_EXAMPLES) else ()),
            terms=_terms(rules, pairs[0], folder),
        )
        return cls(rules, corpus, seed=seed)

    def __call__(self, segment: Segment) -> Segment:
        """Return `segment` with the changes that it is drawn for."""
        changed = segment
        for kind, change in self._steps:
            if (dice := self._drawn(kind, segment)) is not None:
                before, changed = changed, change(changed, dice)
                self.counts[kind] += changed != before
        rule = self._rules.examples
        if rule is None or (dice := self._drawn(_EXAMPLES, segment)) is None:
            return changed
        examples = examples_for(segment, dice, rule, self._corpus)
        self.counts[_EXAMPLES] += bool(examples)
        return Shown.of_segment(changed, examples) if examples else changed

    def _drawn(self, kind: str, segment: Segment) -> Random | None:
        """Return the dice of a segment that a kind of change is for, else None."""
        texts = (str(segment.pair), segment.source, segment.target)
        key = "\n".join((str(self._seed), kind, *texts))
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        # The first bytes are as good as a throw, and much cheaper than a generator.
        throw = int.from_bytes(digest[:8], "big") / 2**64
        is_drawn = throw < self._rules.share_of(kind)
        return Random(digest) if is_drawn else None  # noqa: S311 - seeded noise, no secret


def _vocabularies(train: Sequence[Segment], pair: LanguagePair) -> dict[str, Vocabulary]:
    languages = {(segment.pair or pair).source for segment in train}
    return {
        language: Vocabulary(s.source for s in train if (s.pair or pair).source == language)
        for language in languages
    }


def _terms(rules: AugmentRules, pair: LanguagePair, folder: Path) -> dict[LanguagePair, Terms]:
    if rules.terms is None or rules.terms.file is None:
        return {}
    ours = read_terms(folder / Path(rules.terms.file).expanduser(), pair)
    return {pair: ours, pair.reverse: ours.reversed()}
