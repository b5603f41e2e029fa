"""The waiting requests of one adapter version: a line for each caller and class, in order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from serving.bills import Bill
from serving.callers import Party
from serving.fair_share import served_of

# (own priority, arrival, tie): smaller goes first.
Order = tuple[float, float, int]


@dataclass(slots=True, eq=False)
class Entry:
    """One request in a queue; `order` is its place within its line, times are in seconds."""

    request: Any
    bill: Bill
    flow: Flow
    order: Order
    since: float
    mark: float = 0.0
    deferred_s: float = 0.0
    live: bool = True
    # It was preempted, and so was admitted before.
    resumes: bool = False


class Line:
    """One caller's requests of one class: a heap with lazy removal. `size` counts what is live."""

    __slots__ = ("_heap", "bill", "size")

    def __init__(self, bill: Bill) -> None:
        # Of any of its requests: their party and account are the same.
        self.bill = bill
        self.size = 0
        self._heap: list[tuple[Order, int, Entry]] = []

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        heapq.heappush(self._heap, (entry.order, id(entry), entry))
        self.size += 1

    def head(self) -> Entry:
        """Return the first entry. Raises IndexError where there is none."""
        while True:
            order, _, entry = self._heap[0]
            # What was put back stands here twice: where it was, and where it is.
            if entry.live and entry.order is order:
                return entry
            heapq.heappop(self._heap)

    def entries(self) -> Iterator[Entry]:
        """Yield all, unordered."""
        return (each for order, _, each in self._heap if each.live and each.order is order)


class Flow:
    """The lines of one version. `size` counts what waits in all of them."""

    __slots__ = (
        "_by_priority", "_closed_s", "_kept_out", "_lines", "_only", "_resuming",
        "adapter", "key", "last_admitted", "size",
    )  # fmt: skip

    def __init__(self, key: int, adapter: str, *, by_priority: bool = False) -> None:
        """Open the flow of version `key`; `by_priority` if requests' own priority goes first."""
        self.key = key
        self.adapter = adapter
        self.size = 0
        self.last_admitted = 0.0
        self._by_priority = by_priority
        # By class, then by caller.
        self._lines: dict[int, dict[Party, Line]] = {}
        # Where there is but one line, as without keys: this is asked for each request admitted.
        self._only: Line | None = None
        self._resuming = 0
        # Time for which it was kept out of the slots, on the clock of full slots.
        self._closed_s = 0.0
        self._kept_out: float | None = None

    @property
    def priority(self) -> int:
        """The best class that waits here."""
        return min(self._lines)

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        party = entry.bill.party
        lines = self._lines.setdefault(party.priority, {})
        line = lines.get(party)
        if line is None:
            line = lines[party] = Line(entry.bill)
            self._only = None if self.size else line
        line.put(entry)
        entry.resumes = bool(entry.request.num_preemptions)
        self.size += 1
        self._resuming += entry.resumes

    def drop(self, entry: Entry) -> None:
        """Take an entry out, wherever it stands."""
        entry.live = False
        party = entry.bill.party
        lines = self._lines[party.priority]
        line = lines[party]
        line.size -= 1
        self.size -= 1
        self._resuming -= entry.resumes
        if not line.size:
            del lines[party]
            if not lines:
                del self._lines[party.priority]
            rest = list(islice(self.lines(), 2))
            self._only = rest[0] if len(rest) == 1 else None

    def first(self, due: int | None = None) -> Line:
        """Return the line whose turn it is; that of class `due`, if there is one.

        Raises ValueError where nobody waits.
        """
        if self._only is not None:
            return self._only
        if self._resuming or self._by_priority:
            return min(self.lines(), key=_goes_on_first)
        lines = self._lines[due if due in self._lines else min(self._lines)]
        return lines[min(lines, key=served_of)]

    def resumes(self) -> bool:
        """Return whether its first request was preempted."""
        return self._resuming > 0 and self.first().head().resumes

    def lines(self) -> Iterator[Line]:
        """Yield all lines, unordered."""
        return (line for lines in self._lines.values() for line in lines.values())

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, unordered."""
        return (entry for line in self.lines() for entry in line.entries())

    def waits_since(self) -> float:
        """Return since when its best class has waited: its last turn, or its oldest request."""
        if self._only is not None:
            return max(self.last_admitted, self._only.head().since)
        lines = self._lines[min(self._lines)].values()
        return max(self.last_admitted, min(line.head().since for line in lines))

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


def _goes_on_first(line: Line) -> tuple[bool, float, int, float, Order]:
    head, party = line.head(), line.bill.party
    return not head.resumes, head.order[0], party.priority, party.served, head.order
