"""Perplexity of held-out text: how unsure a model is of the next token, on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.encode import Encoded
from training.evaluate.bootstrap import RESAMPLES

_CI95: Final = (2.5, 97.5)


@dataclass(frozen=True)
class PerplexityComparison:
    """Perplexity per token of a system and of another on the same rows; lower is better.

    `p_value` is one-sided, by paired bootstrap over rows: the chance that the system is not
    better. `ci95` is of `value`. `signature` says what a token is and what was left out.
    """

    value: float
    other: float
    p_value: float
    ci95: tuple[float, float]
    tokens: int
    signature: str


def split_first(rows: Sequence[Encoded]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the first id of each row, and the others: those that have something before them."""
    return [row.input_ids[:1] for row in rows], [row.input_ids[1:] for row in rows]


def compare_perplexity(
    logprobs: Sequence[float],
    other_logprobs: Sequence[float],
    tokens: Sequence[int],
    *,
    max_length: int,
    seed: int = 0,
) -> PerplexityComparison:
    """Return the comparison of summed log-probabilities (nats) of rows of so many tokens."""
    sums = np.asarray([logprobs, other_logprobs], dtype=np.float64)
    counts = np.asarray(tokens, dtype=np.float64)
    rng = np.random.default_rng(seed)
    size = len(counts)
    weights = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(np.float64)
    # A resample of rows without any token says nothing; [systems, resamples]
    drawn = np.exp(-(weights @ sums.T) / np.maximum(weights @ counts, 1.0)[:, None]).T
    total = int(counts.sum())
    value, other = (math.exp(-float(row.sum()) / max(total, 1)) for row in sums)
    low, high = np.percentile(drawn[0], _CI95)
    return PerplexityComparison(
        value=value,
        other=other,
        p_value=(int((drawn[0] >= drawn[1]).sum()) + 1) / (RESAMPLES + 1),
        ci95=(float(low), float(high)),
        tokens=total,
        signature=f"per:token-of-base|tokens:{total}|first-of-row:given|max_length:{max_length}",
    )
