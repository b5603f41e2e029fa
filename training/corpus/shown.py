"""Shown: a segment with the examples that its prompt shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from adapters.prompt import Example
from training.corpus.segment import Segment


@dataclass(frozen=True, slots=True)
class Shown(Segment):
    """A segment that is asked after worked examples, as a translation memory gives them."""

    examples: tuple[Example, ...] = ()

    @classmethod
    def of_segment(cls, segment: Segment, examples: tuple[Example, ...]) -> Self:
        """Return the segment with these examples."""
        return cls(
            segment.source,
            segment.target,
            segment.document,
            segment.path,
            segment.line,
            segment.pair,
            segment.rejected,
            segment.mix,
            examples,
        )
