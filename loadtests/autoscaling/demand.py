"""What Prometheus makes of the pods' metrics: the figure that autoscalers are given."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Protocol

SCRAPE_S: Final = 15.0
WINDOW_S: Final = 120.0


@dataclass(frozen=True)
class Scrape:
    """All pods at one moment."""

    at_s: float
    use: float  # dragoman_utilization, summed: each at most 1
    seats: float  # in use, over seats of a pod
    asked: float  # dragoman_saturation, summed: queues count
    arrivals: int  # dragoman_arrivals_total, summed
    ended: int  # dragoman_requests_total, summed


class Signal(Protocol):
    """What an autoscaler divides by its target."""

    def note(self, scrape: Scrape) -> None:
        """Take in one scrape of all pods."""

    def pods(self) -> float:
        """Return the pods that the load would fill."""


class Demand:
    """The recording rule dragoman:demand:pods (deploy/prometheus/recording.yaml), in Python.

    Throughput in use, times how many requests came for each that ended. With room to spare the two
    are equal and the use is the demand. With none, the use can only say `full`, while requests that
    come and requests that end differ by exactly what is missing, however long the queue is already.
    """

    def __init__(self) -> None:
        self._scrapes: deque[Scrape] = deque()

    def note(self, scrape: Scrape) -> None:
        """Take in one scrape of all pods."""
        self._scrapes.append(scrape)
        while self._scrapes[0].at_s < scrape.at_s - WINDOW_S:
            self._scrapes.popleft()

    def pods(self) -> float:
        """Return the pods that the last two minutes would have filled."""
        first, last = self._scrapes[0], self._scrapes[-1]
        use = sum(s.use for s in self._scrapes) / len(self._scrapes)
        ended = last.ended - first.ended
        return use * (last.arrivals - first.arrivals) / ended if ended else use


class Queued:
    """What is running and waiting, averaged: how peers scale, and what Demand is held against."""

    def __init__(self) -> None:
        self._scrapes: deque[Scrape] = deque(maxlen=int(WINDOW_S / SCRAPE_S))

    def note(self, scrape: Scrape) -> None:
        """Take in one scrape of all pods."""
        self._scrapes.append(scrape)

    def pods(self) -> float:
        """Return the pods that would seat everybody at once."""
        return sum(s.asked for s in self._scrapes) / len(self._scrapes)


class Seats(Demand):
    """Demand with seats in use for throughput in use: as if a batch slowed its requests down."""

    def note(self, scrape: Scrape) -> None:
        """Take in one scrape of all pods."""
        super().note(replace(scrape, use=scrape.seats))
