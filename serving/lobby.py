"""The flows of one queue that have no slot, and what they may ask for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from serving.flow import Flow


class Claim(NamedTuple):
    """A waiting adapter's claim to a slot, by its class and what its caller was served.

    Smaller goes first. An early one has not waited for long; one that is due makes up for a class
    that was passed over.
    """

    priority: int = 0
    is_early: bool = False
    served: float = 0.0
    is_due: bool = False


class Lobby:
    """A heap says when each flow has waited too long, `late` which have."""

    def __init__(self, is_awake: Callable[[Any], bool]) -> None:
        """Let only requests that are awake ask for a slot."""
        self.flows: dict[int, Flow] = {}
        self._is_awake = is_awake
        self._ages: list[tuple[float, int]] = []
        self.late: dict[int, Flow] = {}

    def enter(self, flow: Flow) -> None:
        """Add a flow that has no slot."""
        self.flows[flow.key] = flow
        heapq.heappush(self._ages, (flow.waits_since(), flow.key))

    def leave(self, key: int) -> Flow | None:
        """Take a flow out, if it is here."""
        self.late.pop(key, None)
        return self.flows.pop(key, None)

    def note_overdue(self, late: float) -> None:
        """Find out who has waited since `late`, or longer."""
        while self._ages and self._ages[0][0] <= late:
            _, key = heapq.heappop(self._ages)
            flow = self.flows.get(key)
            if flow is None or key in self.late:
                continue
            since = flow.waits_since()
            if since <= late:
                self.late[key] = flow
            else:
                heapq.heappush(self._ages, (since, key))

    def classes(self) -> set[int]:
        """Return the classes of those that wait here and could run."""
        return {flow.priority for flow in self._awake(self.flows)}

    def overdue(self, most: int) -> int:
        """Return how many have waited too long, counting up to `most`."""
        return sum(1 for _ in islice(self._awake(self.late), most))

    def claims(self, *, early: bool) -> Iterator[Claim]:
        """Yield the claims of those that have waited too long, and early ones if asked."""
        for flow in self._awake(self.flows if early else self.late):
            served = flow.first().bill.party.served
            yield Claim(flow.priority, flow.key not in self.late, served)

    def _awake(self, flows: dict[int, Flow]) -> Iterator[Flow]:
        return (flow for flow in flows.values() if self._could_run(flow))

    def _could_run(self, flow: Flow) -> bool:
        # Mostly the first one is: all are looked at where it is not.
        first = flow.first().head().request
        return self._is_awake(first) or any(self._is_awake(each.request) for each in flow.entries())
