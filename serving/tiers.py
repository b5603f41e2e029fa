"""Which version is in which tier of the engine's memory: for /v1/models, and as gauges."""

from __future__ import annotations

from typing import Final

from serving.metrics import Metrics
from serving.series import Labels

# What is in a slot is in the CPU cache, too.
_TIERS: Final = ("engine", "cpu")


class Tiers:
    """The best tier of each version that is in memory, by the engine's name of it."""

    def __init__(self, metrics: Metrics) -> None:
        """Publish in `metrics` what is told."""
        self._metrics = metrics
        self._best: dict[str, tuple[Labels, str]] = {}
        self._shown: set[tuple[str, ...]] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._best

    def best(self) -> dict[str, str]:
        """Return the best tier of each version."""
        return {name: tier for name, (_, tier) in self._best.items()}

    def add(self, name: str, labels: Labels) -> None:
        """Note a version that was loaded just now."""
        self.replace({name: (labels, "cpu"), **self._best})

    def replace(self, best: dict[str, tuple[Labels, str]]) -> None:
        """Note all that is in memory."""
        self._best = best
        now: set[tuple[str, ...]] = {
            (*labels, below)
            for labels, tier in best.values()
            for below in _TIERS[_TIERS.index(tier) :]
        }
        for adapter, version, tier in now ^ self._shown:
            is_there = (adapter, version, tier) in now
            self._metrics.resident.labels(adapter, version, tier).set(is_there)
        self._shown = now
