"""Pods that serve requests and take time to start, driven by an autoscaler."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.autoscaling.demand import SCRAPE_S, WINDOW_S, Demand, Scrape, Signal
from loadtests.autoscaling.hpa import PERIOD_S, Autoscaler
from loadtests.autoscaling.outcome import Outcome


@dataclass(frozen=True)
class PodKind:
    """What one pod can do; defaults are of Gemma 3 270M on 2 cores (docs/benchmarks.md)."""

    seats: int = 32
    service_s: float = 1.75  # of one request, in a full batch
    start_s: float = 75.0  # from the wish for a pod to its readiness

    @property
    def requests_per_s(self) -> float:
        """What it answers when full."""
        return self.seats / self.service_s


def run(
    arrivals: Sequence[float],
    kind: PodKind,
    scaler: Autoscaler,
    *,
    replicas: int,
    signal: type[Signal] = Demand,
) -> Outcome:
    """Return what becomes of requests that arrive at `arrivals` (ascending seconds).

    The gateway sends each to the seat that is free first; `replicas` are ready at the start, and
    the autoscaler begins when the rule has a whole window to look at.
    """
    found, demand = Outcome(kind.requests_per_s, scaler.target), signal()
    pods = _Pods(kind, replicas)
    upcoming = deque(arrivals)
    for second in range(math.ceil(arrivals[-1]) + 1):
        pods.grow_ready(second)
        came = 0
        while upcoming and upcoming[0] < second + 1:
            found.waits.append((upcoming[0], pods.serve(upcoming.popleft())))
            came += 1
        if second % SCRAPE_S == 0:
            demand.note(pods.scrape(second + 1))
        if second % PERIOD_S == 0 and second >= WINDOW_S:
            pods.resize(second, scaler.decide(second, pods.wanted, demand.pods()))
        found.note(came, wanted=pods.wanted, ready=pods.ready)
    return found


class _Pods:
    """Seats of ready pods by the time at which each is free, and pods that still start."""

    def __init__(self, kind: PodKind, replicas: int) -> None:
        self._kind = kind
        self._free: list[float] = [0.0] * (kind.seats * replicas)
        self._starting: deque[float] = deque()
        self.ready = replicas
        self._ends: list[float] = []  # of requests that were given a seat, now or later
        self._came = 0

    @property
    def wanted(self) -> int:
        return self.ready + len(self._starting)

    def grow_ready(self, now_s: float) -> None:
        while self._starting and self._starting[0] <= now_s:
            self._starting.popleft()
            self.ready += 1
            for _ in range(self._kind.seats):
                heapq.heappush(self._free, now_s)

    def serve(self, arrival: float) -> float:
        """Give a request the first free seat; return its wait in seconds."""
        begin = max(arrival, heapq.heappop(self._free))
        end = begin + self._kind.service_s
        heapq.heappush(self._free, end)
        heapq.heappush(self._ends, end)
        self._came += 1
        return begin - arrival

    def scrape(self, now_s: float) -> Scrape:
        """Return what all pods show; starting ones show nothing."""
        while self._ends and self._ends[0] <= now_s:
            heapq.heappop(self._ends)
        asked = len(self._ends) / self._kind.seats
        ended = self._came - len(self._ends)
        return Scrape(now_s, min(asked, self.ready), asked, self._came, ended)

    def resize(self, now_s: float, wanted: int) -> None:
        while self.wanted < wanted:
            self._starting.append(now_s + self._kind.start_s)
        while self.wanted > wanted and self._starting:
            self._starting.pop()
        gone = max(0, self.wanted - wanted)
        # A pod that goes finishes what it has: its seats just take nothing new.
        for _ in range(gone * self._kind.seats):
            heapq.heappop(self._free)
        self.ready -= gone
