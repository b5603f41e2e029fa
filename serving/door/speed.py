"""How many tokens a second the engine gives, by how many requests are in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

_WINDOW_S: Final = 0.5
# Weight of a window against those before it: load that changes is learnt in some three seconds.
_LEARNING: Final = 0.2


class Speed:
    """Learnt from the engine's steps, in windows in which it was never idle.

    One figure for each power of two of requests: on two cores 32 streams together get fifteen
    times what one gets, so a figure that was learnt from one says little about many.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._learnt: dict[int, tuple[float, float]] = {}  # power: (mean requests, tokens/s)
        self._began: float | None = None
        self._tokens = self._running = 0.0
        self._steps = 0

    def note(self, tokens: int, running: int) -> None:
        """Take in one step: tokens that it gave, and requests that it ran."""
        now = self._clock()
        if self._began is not None:
            self._tokens += tokens
            self._running += running
            self._steps += 1
            if now - self._began >= _WINDOW_S:
                self._close(now - self._began)
                self._began = None
        if running == 0:
            self._began = None
        elif self._began is None:
            self._began, self._tokens, self._running, self._steps = now, 0.0, 0.0, 0

    def _close(self, seconds: float) -> None:
        mean, rate = self._running / self._steps, self._tokens / seconds
        if mean < 1 or not self._tokens:
            return
        power = _power(mean)
        before = self._learnt.get(power, (mean, rate))
        self._learnt[power] = (
            before[0] + _LEARNING * (mean - before[0]),
            before[1] + _LEARNING * (rate - before[1]),
        )

    def of(self, requests: float) -> float | None:
        """Return the tokens a second of that many requests; None before anything was learnt.

        Beyond what was seen it grows in proportion, which is the most that it can be: rather too
        much work is taken on for a second than too little.
        """
        if not self._learnt:
            return None
        wanted = _power(max(1.0, requests))
        nearest = max((p for p in self._learnt if p <= wanted), default=min(self._learnt))
        mean, rate = self._learnt[nearest]
        return rate if nearest == wanted else rate * requests / mean


def _power(requests: float) -> int:
    return int(requests).bit_length()


@lru_cache(maxsize=1)
def process_speed() -> Speed:
    """Return what this process learns: vLLM makes the logger that tells it, we the door."""
    return Speed()
