"""Histograms with logarithmic bins: lengths differ by factors, not by steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_DOUBLINGS: Final = 24
# 1, 2, 3, 4, 6, 8, 12, 16, …: whole numbers, two bins a doubling.
CHARS: Final = (1, *sorted(n << k for k in range(_DOUBLINGS) for n in (2, 3)))
# Three bins a doubling, from an eighth to eight; what is beyond is in the first and the last.
RATIOS: Final = tuple(2 ** (k / 3) for k in range(-9, 10))


@dataclass
class Histogram:
    """Counts between `edges`; what is below the first or above the last is in the end bins."""

    edges: Sequence[float]
    counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.edges) - 1)

    def add(self, value: float) -> None:
        """Count one value."""
        place = bisect_right(self.edges, value) - 1
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1


def together(**histograms: Histogram) -> dict[str, Any]:
    """Return histograms of the same edges as plain JSON values, cut to where there is something.

    `edges` are one more than the counts of each.
    """
    edges = next(iter(histograms.values())).edges
    sums = [sum(counts) for counts in zip(*(h.counts for h in histograms.values()), strict=True)]
    filled = [place for place, count in enumerate(sums) if count] or [0]
    first, last = filled[0], filled[-1] + 1
    counts = {name: h.counts[first:last] for name, h in histograms.items()}
    return {"edges": [round(edge, 3) for edge in edges[first : last + 1]], **counts}
