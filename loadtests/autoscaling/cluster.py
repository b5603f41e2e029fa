"""Pods that serve requests and take time to start, driven by an autoscaler."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.autoscaling.demand import SCRAPE_S, WINDOW_S, Demand, Scrape, Signal
from loadtests.autoscaling.hpa import PERIOD_S, Autoscaler
from loadtests.autoscaling.outcome import Outcome

_TICK_S: Final = 0.25


@dataclass(frozen=True)
class PodKind:
    """What one pod can do; defaults are of Gemma 3 270M on 2 cores (docs/benchmarks.md).

    A step of the engine takes longer with more requests in the batch, but far less than in
    proportion: half a batch is more than half of the throughput.
    """

    seats: int = 32
    tokens: int = 32  # of an answer
    step_alone_s: float = 0.0186
    step_full_s: float = 0.0546
    start_s: float = 75.0  # wish to readiness: 52 s were recorded, without a cluster's part

    def step_s(self, running: int) -> float:
        """Return the time of a step with so many requests in it."""
        more = (self.step_full_s - self.step_alone_s) / (self.seats - 1)
        return self.step_alone_s + more * (running - 1)

    def share(self, running: int) -> float:
        """Return the throughput with so many requests, as a share of a full batch's."""
        full = self.seats / self.step_full_s
        return running / self.step_s(running) / full if running else 0.0

    @property
    def requests_per_s(self) -> float:
        """What it answers when full."""
        return self.seats / (self.tokens * self.step_full_s)


def run(
    arrivals: Sequence[float],
    kind: PodKind,
    scaler: Autoscaler,
    *,
    replicas: int,
    signal: type[Signal] = Demand,
) -> Outcome:
    """Return what becomes of requests that arrive at `arrivals` (ascending seconds).

    The gateway sends each to the emptiest pod, or keeps it while all are full. `replicas` are ready
    at the start, and the autoscaler begins when the rule has a whole window to look at.
    """
    found, demand = Outcome(kind.requests_per_s, scaler.target), signal()
    fleet = _Fleet(kind, replicas)
    upcoming = deque(arrivals)
    for second in range(math.ceil(arrivals[-1]) + 1):
        came = 0
        for tick in range(round(1 / _TICK_S)):
            now = second + tick * _TICK_S
            while upcoming and upcoming[0] < now + _TICK_S:
                fleet.waiting.append(upcoming.popleft())
                came += 1
            found.waits += fleet.go_on(now + _TICK_S)
        fleet.came += came
        if second % SCRAPE_S == 0:
            demand.note(fleet.scrape(second + 1))
        if second % PERIOD_S == 0 and second >= WINDOW_S:
            fleet.resize(second, scaler.decide(second, fleet.wanted, demand.pods()))
        found.note(came, wanted=fleet.wanted, ready=len(fleet.pods))
    return found


@dataclass
class _Pod:
    """One engine: all that runs advances together, by as many tokens as there were steps."""

    kind: PodKind
    steps: float = 0.0
    running: deque[float] = field(default_factory=deque)  # by the step at which each ends

    def go_on(self) -> int:
        """Advance by a tick; return how many requests ended."""
        if not self.running:
            return 0
        self.steps += _TICK_S / self.kind.step_s(len(self.running))
        before = len(self.running)
        while self.running and self.running[0] <= self.steps:
            self.running.popleft()
        return before - len(self.running)


class _Fleet:
    """Ready pods, pods that still start, and pods that only finish what they have."""

    def __init__(self, kind: PodKind, replicas: int) -> None:
        self._kind = kind
        self._starting: deque[float] = deque()
        self._leaving: list[_Pod] = []
        self.pods = [_Pod(kind) for _ in range(replicas)]
        self.waiting: deque[float] = deque()
        self.came = 0
        self._ended = 0

    @property
    def wanted(self) -> int:
        return len(self.pods) + len(self._starting)

    def go_on(self, now_s: float) -> list[tuple[float, float]]:
        """Advance by a tick; return arrival and wait of those that got a seat."""
        while self._starting and self._starting[0] <= now_s:
            self._starting.popleft()
            self.pods.append(_Pod(self._kind))
        self._ended += sum(pod.go_on() for pod in (*self.pods, *self._leaving))
        self._leaving = [pod for pod in self._leaving if pod.running]
        seated = []
        while self.waiting and self.pods:
            pod = min(self.pods, key=lambda p: len(p.running))
            if len(pod.running) >= self._kind.seats:
                break
            arrival = self.waiting.popleft()
            pod.running.append(pod.steps + self._kind.tokens)
            seated.append((arrival, max(0.0, now_s - _TICK_S - arrival)))
        return seated

    def scrape(self, now_s: float) -> Scrape:
        """Return what all pods show; starting ones show nothing."""
        seats = sum(len(pod.running) for pod in self.pods) / self._kind.seats
        return Scrape(
            now_s,
            use=sum(self._kind.share(len(pod.running)) for pod in self.pods),
            seats=seats,
            asked=seats + len(self.waiting) / self._kind.seats,
            arrivals=self.came,
            ended=self._ended,
        )

    def resize(self, now_s: float, wanted: int) -> None:
        while self.wanted < wanted:
            self._starting.append(now_s + self._kind.start_s)
        while self.wanted > wanted and self._starting:
            self._starting.pop()
        while self.wanted > wanted:
            self._leaving.append(self.pods.pop())
