"""Which versions are in use, and by which API process; kept by each worker of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

# Each API process reports every two seconds. One that is silent for so long has died.
_LAPSE_S: Final = 60.0


class Leases:
    """A leased version stays in memory, whatever happens to its files."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, set[int]] = {}
        self._heard: dict[str, float] = {}

    def grant(self, client: str, number: int) -> None:
        """Note that `client` uses version `number` from now on."""
        self._held.setdefault(client, set()).add(number)
        self._heard[client] = self._clock()

    def replace(self, client: str, numbers: Iterable[int]) -> None:
        """Note all that `client` uses now: what it leaves out, it has let go of."""
        self._held[client] = set(numbers)
        self._heard[client] = self._clock()

    def held(self) -> set[int]:
        """Return every version that somebody uses."""
        now = self._clock()
        for client in [c for c, heard in self._heard.items() if now - heard > _LAPSE_S]:
            del self._heard[client], self._held[client]
        return set().union(*self._held.values())
