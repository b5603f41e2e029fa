"""Paired bootstrap resampling on chrF++ (Koehn 2004): better, or only lucky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.evaluate.metrics import Stats, chrf_of, chrf_stats

RESAMPLES: Final = 1000
_CI95: Final = (2.5, 97.5)


@dataclass(frozen=True)
class Comparison:
    """chrF++ of a system against another one on the same segments.

    `p_value` is one-sided: the chance that the system is not better. `ci95` is of `value`,
    `gain_ci95` of the difference.
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


def compare(
    system: Sequence[str],
    other: Sequence[str],
    references: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return how `system` does against `other`; the same seed gives the same figures."""
    return compare_mean([(system, other, references)], resamples=resamples, seed=seed)


def compare_mean(
    test_sets: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return how a system does on average over test sets of (its texts, the other's, references).

    Each set is resampled by itself and counts the same, however large it is.
    """
    stats = [[chrf_stats(t, refs) for t in (own, other)] for own, other, refs in test_sets]
    weights = [_draws(len(refs), resamples, seed) for _, _, refs in test_sets]
    drawn = np.mean(
        [[chrf_of(w @ s) for s in both] for w, both in zip(weights, stats, strict=True)], axis=0
    )
    value, other_value = np.mean([[chrf_of(s.sum(axis=0)) for s in both] for both in stats], axis=0)
    scores, other_scores = drawn
    not_better = int((scores <= other_scores).sum())
    return Comparison(
        value=float(value),
        other=float(other_value),
        p_value=(not_better + 1) / (resamples + 1),
        ci95=_interval(scores),
        gain_ci95=_interval(scores - other_scores),
    )


def _draws(segments: int, resamples: int, seed: int) -> Stats:
    """Return how often each segment is in each resample: [resamples, segments], rows sum to n."""
    rng = np.random.default_rng(seed)
    chances = np.full(segments, 1 / segments)
    return rng.multinomial(segments, chances, size=resamples).astype(np.float64)


def _interval(scores: Stats) -> tuple[float, float]:
    low, high = np.percentile(scores, _CI95)
    return float(low), float(high)
