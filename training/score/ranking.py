"""Ranking: scored pairs from the worst to the best, and where they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from adapters.errors import DataInvalid
from training.score.cut import Cut
from training.score.scored import Scored

_QUANTILES: Final = {
    "lowest": 0.0, "1 %": 0.01, "5 %": 0.05, "10 %": 0.1, "25 %": 0.25,
    "median": 0.5, "75 %": 0.75, "95 %": 0.95, "highest": 1.0,
}  # fmt: skip
_WORST: Final = 10
_DROPPED_AT_LIMIT, _KEPT_AT_LIMIT = 2, 3


@dataclass(frozen=True)
class Ranking:
    """Pairs in reading order, of which `cut` drops some. There is at least one."""

    scored: Sequence[Scored]
    cut: Cut

    @cached_property
    def _worst_first(self) -> list[int]:
        return sorted(range(len(self.scored)), key=lambda n: self.scored[n].score)

    @cached_property
    def dropped(self) -> int:
        """How many of the worst are dropped."""
        return self.cut.count([each.score for each in self.scored])

    def kept(self) -> list[Scored]:
        """Return the pairs that are kept, in reading order. Raises DataInvalid if there is none."""
        places = sorted(self._worst_first[self.dropped :])
        if not places:
            best = self.scored[self._worst_first[-1]].score
            raise DataInvalid(
                f"none of {len(self.scored)} pairs is kept with {self.cut}: the highest score is "
                f"{best:g}; lower the limit"
            )
        return [self.scored[n] for n in places]

    def worst(self) -> list[Scored]:
        """Return the ten worst, the worst first."""
        return [self.scored[n] for n in self._worst_first[:_WORST]]

    def at_limit(self) -> list[tuple[str, Scored]]:
        """Return the last two that are dropped and the first three that are kept, each with that.

        Empty where none is dropped.
        """
        if not self.dropped:
            return []
        first = max(self.dropped - _DROPPED_AT_LIMIT, 0)
        near = enumerate(self._worst_first[first : self.dropped + _KEPT_AT_LIMIT], first)
        return [("kept" if n >= self.dropped else "dropped", self.scored[at]) for n, at in near]

    def quantiles(self) -> dict[str, float]:
        """Return scores that so much of the pairs are at or below; none is between two pairs."""
        last = len(self.scored) - 1
        places = {name: self._worst_first[int(q * last)] for name, q in _QUANTILES.items()}
        return {name: self.scored[place].score for name, place in places.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "scored": len(self.scored),
            "dropped": self.dropped,
            "kept": len(self.scored) - self.dropped,
            "quantiles": self.quantiles(),
            "worst": [each.to_json() for each in self.worst()],
            "at_limit": [{**each.to_json(), "is": word} for word, each in self.at_limit()],
        }
