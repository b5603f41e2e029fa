"""One scoring: segments through a scorer into a file of those that are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.segment import Segment, write_jsonl
from training.prepare import Prepared
from training.recipe import Recipe
from training.score.cut import Cut
from training.score.ranking import Ranking
from training.score.scored import Scored
from training.score.scorer import Scorer


@dataclass(frozen=True)
class Outcome:
    """What came of it; `seconds` are of the scoring alone, loading the model included."""

    out: Path
    ranking: Ranking
    unscored: int
    signature: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "out": str(self.out),
            **self.ranking.to_json(),
            "too_long": self.unscored,
            "seconds": round(self.seconds, 1),
            "signature": self.signature,
        }


def segments_of(
    recipe: Recipe, data: Prepared, pair: LanguagePair, limit: int | None = None
) -> list[Segment]:
    """Return the first so many of the training part's pairs, each file's in reading order.

    They are of one language pair; dev and test stay out. Raises DataInvalid if there are none.
    """
    found = [segment for segment in data.train if (segment.pair or recipe.pair) == pair][:limit]
    if not found:
        raise DataInvalid(f"{recipe.id}: the training part has no pair of {pair}; check --pair")
    # A split by hash has put them in an order of its own, so the limit took a fair sample.
    return sorted(found, key=lambda segment: (segment.path, segment.line))


def score(segments: Sequence[Segment], scorer: Scorer, cut: Cut, out: Path) -> Outcome:
    """Write the segments that are kept with their scores, in their order.

    What the scorer cannot take is left out. The file appears whole or not at all, also after a
    KeyboardInterrupt. Raises DataInvalid if nothing is kept.
    """
    began = time.monotonic()
    found = zip(segments, scorer.scores(segments), strict=True)
    scored = [Scored.of_segment(segment, value) for segment, value in found if value is not None]
    seconds = time.monotonic() - began
    if not scored:
        raise DataInvalid(
            f"{out}: none of {len(segments)} pairs fits into the scorer; raise schedule.max_length"
        )
    ranking = Ranking(scored, cut)
    write_jsonl(ranking.kept(), out)
    return Outcome(out, ranking, len(segments) - len(scored), scorer.signature, seconds)
