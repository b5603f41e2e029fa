"""Which adapter a request asks for: few are popular, many are rare, and fashions change."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from pydantic import Field

from adapters.strict.section import Section


class Popularity(Section):
    """Zipf's law over the adapters: the k-th is asked 1/k^exponent as often as the first."""

    exponent: float = Field(default=1.0, ge=0, description="0: all alike")
    drift_every_s: float | None = Field(
        default=None, gt=0, description="so often two adapters trade their places"
    )
    cold: int = Field(
        default=0, ge=0, description="adapters kept apart, each asked once, evenly over the run"
    )

    def chosen(
        self, times: Sequence[float], names: Sequence[str], chance: random.Random
    ) -> Iterator[str]:
        """Yield a name for each time; the last `cold` names come once each.

        Needs more names than cold ones.
        """
        popular = list(names[: len(names) - self.cold])
        weights = [1 / rank**self.exponent for rank in range(1, len(popular) + 1)]
        single = dict(zip(_places(len(times), self.cold), names[len(popular) :], strict=False))
        drifted = 0
        for number, at_s in enumerate(times):
            while self.drift_every_s and at_s >= (drifted + 1) * self.drift_every_s:
                a, b = chance.randrange(len(popular)), chance.randrange(len(popular))
                popular[a], popular[b] = popular[b], popular[a]
                drifted += 1
            (name,) = chance.choices(popular, weights)
            yield single.get(number, name)


def _places(count: int, cold: int) -> list[int]:
    """Return the indices at which cold adapters are asked: none at the very start."""
    return [count * (2 * i + 1) // (2 * cold) for i in range(cold)]
