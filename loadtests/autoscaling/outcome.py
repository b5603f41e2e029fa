"""What a simulated day was like, and what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

# A request shall have its seat within this.
SLO_WAIT_S: Final = 2.0
# The autoscaler may look back so far: the rule's window, and five minutes of stabilization.
_MEMORY_S: Final = 420


@dataclass
class Outcome:
    """Pods and arrivals by second; waits are (arrival, seconds to a seat)."""

    requests_per_s: float  # of one full pod
    target: float
    arrivals: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    def note(self, came: int, *, wanted: int, ready: int) -> None:
        """Take in one second."""
        self.arrivals.append(came)
        self.wanted.append(wanted)
        self.ready.append(ready)

    def per_s(self) -> list[float]:
        """Return the arrivals a second of the minute before each second."""
        total, found = 0, []
        for t, came in enumerate(self.arrivals):
            total += came - (self.arrivals[t - 60] if t >= 60 else 0)
            found.append(total / min(60, t + 1))
        return found

    def reversals(self, within_s: int = 600) -> int:
        """Return the most changes of direction in any stretch of `within_s` seconds."""
        steps = list(self._steps())
        turns = [t for (_, a), (t, b) in pairwise(steps) if a * b < 0]
        return max((sum(t <= u < t + within_s for u in turns) for t in turns), default=0)

    def overshoot(self) -> int:
        """Return the most pods that were added beyond what the arrivals of a minute called for."""
        busiest = self.per_s()
        worst = 0
        for t, change in self._steps():
            if change > 0:
                load = max(busiest[max(0, t - _MEMORY_S) : t + 1])
                needed = math.ceil(load / self.requests_per_s / self.target)
                worst = max(worst, self.wanted[t] - max(1, needed))
        return worst

    def kept(self) -> float:
        """Return the share of requests that had their seat in time."""
        return sum(wait <= SLO_WAIT_S for _, wait in self.waits) / len(self.waits)

    def late_for_s(self) -> float:
        """Return the longest stretch in which requests that came had to wait too long."""
        longest = began = 0.0
        late = False
        for at_s, wait in self.waits:
            if wait > SLO_WAIT_S and not late:
                late, began = True, at_s
            elif wait <= SLO_WAIT_S and late:
                late, longest = False, max(longest, at_s - began)
        return max(longest, self.waits[-1][0] - began) if late else longest

    def pod_hours(self) -> float:
        """Return what was paid for: pods from the wish for them on."""
        return sum(self.wanted) / 3600

    def _steps(self) -> Iterator[tuple[int, int]]:
        for t in range(1, len(self.wanted)):
            if change := self.wanted[t] - self.wanted[t - 1]:
                yield t, change
