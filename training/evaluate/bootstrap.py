"""Paired bootstrap resampling (Koehn 2004), as sacreBLEU does it: better, or only lucky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.evaluate.metrics import Metric, Stats, chrf_metric

RESAMPLES: Final = 1000
# sacreBLEU's own: the same segments are drawn as by its --paired-bs.
SEED: Final = 12345
_CI95: Final = (2.5, 97.5)


@dataclass(frozen=True)
class Comparison:
    """A system's score against another's on the same segments.

    `p_value` is that of sacreBLEU's --paired-bs: how likely a difference this large is by chance,
    to whichever side (1 where there is none). `ci95` is of `value`, `gain_ci95` of the difference.
    """

    value: float
    other: float
    p_value: float
    ci95: tuple[float, float]
    gain_ci95: tuple[float, float]

    @property
    def gain(self) -> float:
        """Points over the other system."""
        return self.value - self.other


@dataclass(frozen=True)
class Resampled:
    """A system's score of a test set, and of its resamples: `drawn` is [resamples]."""

    value: float
    drawn: Stats

    @property
    def ci95(self) -> tuple[float, float]:
        """The interval that holds 95 of 100 resamples."""
        return _interval(self.drawn)

    def against(self, other: Resampled) -> Comparison:
        """Return the comparison with a system that was resampled alike."""
        apart = np.abs(self.drawn - other.drawn)
        gain = abs(self.value - other.value)
        by_chance = int((apart - apart.mean() > gain).sum())
        return Comparison(
            value=self.value,
            other=other.value,
            p_value=(by_chance + 1) / (len(apart) + 1) if apart.any() else 1.0,
            ci95=self.ci95,
            gain_ci95=_interval(self.drawn - other.drawn),
        )


def resampled(
    metric: Metric,
    system: Sequence[str],
    references: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Resampled:
    """Return the score of `system` and of its resamples; the same seed draws the same segments."""
    stats = metric.statistics(system, references)
    sums = _draws(len(references), resamples, seed) @ stats
    return Resampled(metric.of(stats.sum(axis=0)), np.asarray([metric.of(row) for row in sums]))


def mean_of(sets: Sequence[Resampled]) -> Resampled:
    """Return a system's mean over test sets; each counts the same, however large it is."""
    return Resampled(
        float(np.mean([one.value for one in sets])), np.mean([one.drawn for one in sets], axis=0)
    )


def compare(
    system: Sequence[str],
    other: Sequence[str],
    references: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Return how chrF++ of `system` does against `other`."""
    return compare_mean([(system, other, references)], resamples=resamples, seed=seed)


def compare_mean(
    test_sets: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Return the comparison in chrF++ of means over sets of (texts, other's texts, references)."""
    metric = chrf_metric()

    def mean(systems: Sequence[Sequence[str]]) -> Resampled:
        references = [refs for _, _, refs in test_sets]
        return mean_of(
            [
                resampled(metric, texts, refs, resamples=resamples, seed=seed)
                for texts, refs in zip(systems, references, strict=True)
            ]
        )

    own, others = (mean(column) for column in list(zip(*test_sets, strict=True))[:2])
    return own.against(others)


def _draws(segments: int, resamples: int, seed: int) -> Stats:
    """Return how often each segment is in each resample: [resamples, segments], rows sum to n."""
    rows = np.random.default_rng(seed).choice(segments, size=(resamples, segments), replace=True)
    return np.asarray([np.bincount(row, minlength=segments) for row in rows], dtype=np.float64)


def _interval(scores: Stats) -> tuple[float, float]:
    low, high = np.percentile(scores, _CI95)
    return float(low), float(high)
