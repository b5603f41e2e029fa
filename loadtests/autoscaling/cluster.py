"""Pods that serve requests and take time to start, driven by an autoscaler."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.autoscaling.hpa import PERIOD_S, Autoscaler

# Prometheus scrapes so often, and what is scaled by is the highest of the last minute.
_SCRAPE_S: Final = 15.0
_WINDOW_S: Final = 60.0


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


@dataclass
class Outcome:
    """What a simulated day was like, by second; waits are seconds from arrival to a seat."""

    seconds: list[float] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    needed: list[float] = field(default_factory=list)  # pods that the arrivals fill
    waits: list[float] = field(default_factory=list)

    def reversals(self, within_s: float = 600.0) -> int:
        """Return the most changes of direction in any stretch of `within_s` seconds."""
        steps = [
            (t, b - a)
            for t, a, b in zip(self.seconds[1:], self.wanted, self.wanted[1:], strict=False)
            if a != b
        ]
        turns = [t for (_, a), (t, b) in zip(steps, steps[1:], strict=False) if a * b < 0]
        return max((sum(t <= u < t + within_s for u in turns) for t in turns), default=0)

    def wait_quantile(self, share: float) -> float:
        """Return the wait that `share` of the requests did not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def run(arrivals: Sequence[float], kind: PodKind, scaler: Autoscaler, *, replicas: int) -> Outcome:
    """Return what becomes of requests that arrive at `arrivals` (ascending seconds).

    The gateway sends each to the seat that is free first; `replicas` are ready at the start.
    """
    found = Outcome()
    pods = _Pods(kind, replicas)
    recent: deque[tuple[float, float]] = deque()
    upcoming = deque(arrivals)
    end = int(arrivals[-1]) + 1 if arrivals else 0
    window: deque[int] = deque(maxlen=60)
    for second in range(end + 1):
        pods.grow_ready(second)
        count = 0
        while upcoming and upcoming[0] < second + 1:
            found.waits.append(pods.serve(upcoming.popleft()))
            count += 1
        if second % _SCRAPE_S == 0:
            recent.append((second, pods.saturation(second + 1) * pods.ready))
            while recent[0][0] <= second - _WINDOW_S:
                recent.popleft()
        if second % PERIOD_S == 0:
            total = max(value for _, value in recent)
            pods.resize(second, scaler.decide(second, pods.wanted, total))
        window.append(count)
        found.seconds.append(second)
        found.arrivals.append(count)
        found.wanted.append(pods.wanted)
        found.ready.append(pods.ready)
        found.needed.append(sum(window) / len(window) / kind.requests_per_s)
    return found


class _Pods:
    """Seats of ready pods by the time at which each is free, and pods that still start."""

    def __init__(self, kind: PodKind, replicas: int) -> None:
        self._kind = kind
        self._free: list[float] = [0.0] * (kind.seats * replicas)
        self._starting: deque[float] = deque()
        self.ready = replicas
        self._ends: list[float] = []  # of requests that were given a seat, now or later

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
        return begin - arrival

    def saturation(self, now_s: float) -> float:
        """Return requests running and waiting over seats."""
        while self._ends and self._ends[0] <= now_s:
            heapq.heappop(self._ends)
        return len(self._ends) / max(1, self._kind.seats * self.ready)

    def resize(self, now_s: float, wanted: int) -> None:
        while self.wanted < wanted:
            self._starting.append(now_s + self._kind.start_s)
        while self.wanted > wanted and self._starting:
            self._starting.pop()
        gone = max(0, self.wanted - wanted)
        # A pod that goes finishes what it has: its seats just take nothing new.
        for _ in range(gone * self._kind.seats):
            self._free.remove(min(self._free))
        heapq.heapify(self._free)
        self.ready -= gone
