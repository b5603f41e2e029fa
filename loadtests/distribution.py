"""What a list of measurements comes to: percentiles, and the spread of repeated rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of all values do not exceed.

    Nearest rank: always a value that was measured. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values: nothing was measured")
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def summary_ms(seconds: Sequence[float], *percents: int) -> dict[str, float]:
    """Return `{"p50": …, "n": …}` of times in milliseconds."""
    figures = {f"p{p}": round(percentile(seconds, p) * 1000, 1) for p in percents}
    return {**figures, "n": len(seconds)}


@dataclass(frozen=True)
class Rounds:
    """One figure, measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance from lowest to highest, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios round by round: what drifts, drifts in both of a pair."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def ratio(over: Mapping[str, float], under: Mapping[str, float], key: str) -> float:
    """Return `over[key] / under[key]`, to two decimals."""
    return round(over[key] / under[key], 2)
