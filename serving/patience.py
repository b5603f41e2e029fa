"""How long the better classes may pass over the others: strict priority, but for a bounded time."""

from __future__ import annotations

from collections.abc import Collection


class Patience:
    """Since when each class has seen better ones go first, in seconds.

    Not how long its requests have waited: where bulk fills the engine by itself, they wait long,
    and yet whoever is interactive goes first. And a class is due as a whole: with a turn for each
    of its callers or adapters, many of them would leave nothing to the better class.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: Collection[int] = ()
        self._since: dict[int, float] = {}

    def begin_step(self, waiting: Collection[int]) -> None:
        """Take in which classes wait."""
        self._waiting = waiting
        if self._since:
            self._since = {each: at for each, at in self._since.items() if each in waiting}

    def pass_over(self, priority: int, *, now: float) -> None:
        """Note that one of a class goes before those of worse ones."""
        for other in self._waiting:
            if other > priority:
                self._since.setdefault(other, now)

    def had_turn(self, priority: int) -> None:
        """Note that a class had its turn, and begins to be patient anew."""
        self._since.pop(priority, None)

    def due(self, now: float) -> int | None:
        """Return the class that has been passed over for too long, the longest one first."""
        if not self._since:
            return None
        priority = min(self._since, key=self._since.__getitem__)
        return priority if now - self._since[priority] >= self._wait_s else None
