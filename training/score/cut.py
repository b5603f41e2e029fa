"""Cut: which of the scored pairs are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """The worst share of the pairs is dropped, or those below a score; without either, none."""

    share: float = 0.0
    min_score: float | None = None

    def count(self, scores: Sequence[float]) -> int:
        """Return how many of the worst are dropped."""
        if self.min_score is not None:
            return sum(score < self.min_score for score in scores)
        return round(self.share * len(scores))

    def __str__(self) -> str:
        if self.min_score is not None:
            return f"--min-score {self.min_score:g}"
        return f"--drop {self.share:g}"
