"""Scorer: what tells good pairs from bad ones, be it a language model, embeddings or QE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from training.corpus.segment import Segment


class Scorer(Protocol):
    """Gives each pair a number, the higher the better; only their order means something."""

    @property
    def signature(self) -> str:
        """What the scores depend on: two are comparable if it is the same."""
        ...

    def scores(self, segments: Sequence[Segment]) -> Iterator[float | None]:
        """Yield a score for each of `segments`, in their order; None for what it cannot take."""
        ...
