"""Scored: a segment with its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from training.corpus.segment import Segment

_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Scored(Segment):
    """A segment as it is written with its score, the higher the better."""

    score: float = 0.0

    @classmethod
    def of_segment(cls, segment: Segment, score: float) -> Self:
        """Return the segment with this score, rounded as in the file."""
        return cls(
            segment.source,
            segment.target,
            segment.document,
            segment.path,
            segment.line,
            segment.pair,
            segment.rejected,
            segment.mix,
            round(score, _DIGITS),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what one line of the file holds; the JSONL reader passes over the score."""
        return {**Segment.to_json(self), "score": self.score}
