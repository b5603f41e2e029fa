"""Measured: what a candidate did on the held-out text of each of its language pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.ids import LanguagePair
from adapters.manifest import Golden
from training.assess import (
    Assessed,
    HeldOut,
    Systems,
    asks_probes,
    steps_of,
    texts_of_test,
)
from training.corpus.segment import Segment
from training.elsewhere import OtherText
from training.evaluate.probes import ProbeResult, texts_asked
from training.evaluate.scores import Evaluation, score
from training.examples import examples_from
from training.prepare import Prepared
from training.recipe import Recipe
from training.seq2seq.assess import NO_EXAMPLES


@dataclass(frozen=True)
class Row:
    """One segment of the test set, as every system has it."""

    source: str
    reference: str
    candidate: str
    base: str


@dataclass(frozen=True)
class Measured:
    """One language pair: its scores, how the base was asked, and all texts."""

    pair: LanguagePair
    evaluation: Evaluation
    base_asked: str
    rows: tuple[Row, ...]
    golden: tuple[Golden, ...]
    zero_shot_asked: str | None = None
    probes: tuple[ProbeResult, ...] = ()


def held_out(recipe: Recipe, data: Prepared) -> list[HeldOut]:
    """Return the text of each pair of the recipe, the test part cut as it says."""

    def of(pair: LanguagePair, segments: Sequence[Segment]) -> list[Segment]:
        return [s for s in segments if (s.pair or recipe.pair) == pair]

    return [
        HeldOut(
            pair,
            of(pair, data.test)[: recipe.evaluate.limit],
            of(pair, data.dev),
            of(pair, data.train),
        )
        for pair in recipe.pairs
    ]


def steps_over(
    recipe: Recipe, texts: Sequence[HeldOut], others: Sequence[OtherText], *, systems: int
) -> int:
    """Return how many texts are decoded with so many adapters, for a progress bar."""
    bases = 2 if recipe.evaluate.zero_shot else 1
    parts = [(len(t.test), len(t.dev), systems, bases) for t in texts]
    parts += [(len(t.test), len(t.shown), 1, 1) for t in others if not t.is_monolingual]
    decoded = sum(
        steps_of(test=test, dev=dev, systems=own, bases=asked) for test, dev, own, asked in parts
    )
    return decoded + (sum(texts_asked(t.pair) for t in texts) if asks_probes(recipe) else 0)


def assess_all(
    systems: Systems, texts: Sequence[HeldOut], *, shots: int
) -> dict[LanguagePair, Assessed]:
    """Return every system's translations; the base is shown examples of the same pair."""
    return {text.pair: systems.assess(text, examples_from(text.train, shots)) for text in texts}


def measured(
    recipe: Recipe, texts: Sequence[HeldOut], assessed: Mapping[LanguagePair, Assessed]
) -> tuple[Measured, ...]:
    """Return the figures of each pair."""
    return tuple(_measured(recipe, text, assessed[text.pair]) for text in texts)


def _measured(recipe: Recipe, text: HeldOut, assessed: Assessed) -> Measured:
    outputs = assessed.outputs
    columns = (outputs.sources, outputs.references, outputs.candidate, outputs.base)
    scored = score(
        outputs,
        texts_of_test(recipe, text.test, text.pair),
        task=recipe.task,
        trained_on=[segment.target for segment in text.train],
    )
    return Measured(
        pair=text.pair,
        evaluation=replace(scored, likelihoods=assessed.likelihoods),
        base_asked=_asked(recipe, assessed.base_asked),
        zero_shot_asked=assessed.zero_shot_asked and f"no example {assessed.zero_shot_asked}",
        rows=tuple(Row(*texts) for texts in zip(*columns, strict=True)),
        golden=assessed.golden,
        probes=assessed.probes,
    )


def _asked(recipe: Recipe, how: str) -> str:
    return how if how == NO_EXAMPLES else f"{recipe.evaluate.shots} examples {how}"
