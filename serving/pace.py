"""Work in small portions: what runs beside a decoding engine must leave it the cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# One burst lengthens a step by at most this much on the core that it hits; a step of one stream
# takes some 40 ms. A load is 25 ms of work, so it takes a fifth of a second beside a busy engine.
_BURST_S: Final = 0.001
_REST_S: Final = 0.007


class Pace:
    """Call it often: it sleeps after each burst of work for as long as `busy()` says so."""

    def __init__(
        self,
        busy: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._busy = busy
        self._clock = clock
        self._sleep = sleep
        self._since = clock()

    def __call__(self) -> None:
        """Rest, if a burst's worth of work was done since the last rest."""
        if self._clock() - self._since < _BURST_S:
            return
        if self._busy():
            self._sleep(_REST_S)
        self._since = self._clock()
