"""The waiting requests of one adapter version, in order."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from serving.fair_share import Account

# (own priority, arrival, tie): smaller goes first.
Order = tuple[float, float, int]


@dataclass(slots=True, eq=False)
class Entry:
    """One request in a queue; `order` is its place within its flow, times are in seconds."""

    request: Any
    flow: Flow
    order: Order
    since: float
    mark: float = 0.0
    deferred_s: float = 0.0
    live: bool = True


class Flow:
    """A heap with lazy removal. `size` counts what is live."""

    __slots__ = ("_closed_s", "_heap", "_kept_out", "account", "key", "last_admitted", "size")

    def __init__(self, key: int, account: Account) -> None:
        self.key = key
        self.account = account
        self.size = 0
        self.last_admitted = 0.0
        self._heap: list[tuple[Order, int, Entry]] = []
        # Time for which it was kept out of the slots, on the clock of full slots.
        self._closed_s = 0.0
        self._kept_out: float | None = None

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        heapq.heappush(self._heap, (entry.order, id(entry), entry))
        self.size += 1

    def head(self) -> Entry:
        """Return the first entry. Raises IndexError where there is none."""
        while not self._heap[0][2].live:
            heapq.heappop(self._heap)
        return self._heap[0][2]

    def drop(self, entry: Entry) -> None:
        """Take an entry out, wherever it stands."""
        entry.live = False
        self.size -= 1

    def entries(self) -> list[Entry]:
        """Return all, unordered."""
        return [entry for _, _, entry in self._heap if entry.live]

    def waits_since(self) -> float:
        """Return since when the adapter has waited: its last turn, or its oldest request."""
        return max(self.last_admitted, self.head().since)

    def keep_out(self, full_s: float) -> None:
        """Note that the adapter is kept out of the slots from now on."""
        if self._kept_out is None:
            self._kept_out = full_s

    def let_in(self, full_s: float) -> None:
        """Note that it is kept out no longer."""
        self._closed_s = self.kept_out_s(full_s)
        self._kept_out = None

    def kept_out_s(self, full_s: float) -> float:
        """Return for how long it has been kept out of full slots."""
        if self._kept_out is None:
            return self._closed_s
        return self._closed_s + full_s - self._kept_out
