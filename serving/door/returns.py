"""Those who were told to come back later: when, and whether they do.

A time that is right for one client is wrong for the hundredth that is sent away at the same
moment, if all come back: so each is given a time behind the others'. And if those who are sent
away do not come back, as new users do not, nobody shall wait for them: how many do is learnt.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST_PROMISES: Final = 4096
_LONGEST_S: Final = 60.0  # more, OpenAI's clients do not wait
_EARLY: Final = 0.9
_LEARNING: Final = 0.05
# Whoever is not back by this multiple of the wait, and a second, does not come.
_PATIENCE: Final = 2.0


class Returns:
    """Promises, by what asked: the same caller with the same body."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: OrderedDict[int, tuple[float, float]] = OrderedDict()  # told at, due at
        self._next = 0.0
        self._likely = 0.0

    def promise(self, who: int, *, room_in_s: float, work_s: float) -> float:
        """Return in how many seconds to come back.

        room_in_s: when there would be room for one; work_s: what its work takes.
        """
        now = self._clock()
        self._forget(now)
        due = min(max(now + room_in_s, self._next), now + _LONGEST_S)
        self._next = due + work_s * self._likely
        self._due.pop(who, None)
        self._due[who] = (now, due)
        while len(self._due) > _MOST_PROMISES:
            self._due.popitem(last=False)
        return due - now

    def is_back(self, who: int) -> bool:
        """Return whether this one was sent away and comes when it was told; forgets it then."""
        told, due = self._due.get(who, (0.0, 0.0))
        if not due or self._clock() < told + _EARLY * (due - told):
            return False
        del self._due[who]
        self._learn(1.0)
        return True

    def _forget(self, now: float) -> None:
        while self._due:
            who, (told, due) = next(iter(self._due.items()))
            if now < told + _PATIENCE * (due - told) + 1.0:
                return
            del self._due[who]
            self._learn(0.0)

    def _learn(self, came: float) -> None:
        self._likely += _LEARNING * (came - self._likely)
