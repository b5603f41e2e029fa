"""The horizontal pod autoscaler's arithmetic, as Kubernetes 1.37 does it for an AverageValue.

Source: kubernetes/pkg/controller/podautoscaler (replica_calculator.go, horizontal.go); KEDA makes
an HPA of the same kind, so that this stands for both.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Self

TOLERANCE: Final = 0.1  # kube-controller-manager's default
PERIOD_S: Final = 15.0


@dataclass(frozen=True)
class Policy:
    """At most so much change, in pods or percent, within so many seconds."""

    kind: str
    value: float
    period_s: float

    def change(self, replicas: int) -> float:
        """Return the pods that it allows beside `replicas`, those of the period's start."""
        return self.value if self.kind == "Pods" else replicas * self.value / 100


@dataclass(frozen=True)
class Direction:
    """How fast one goes up, or down."""

    stabilization_s: float
    policies: tuple[Policy, ...]
    widest: bool

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Return what `behavior.scaleUp` or `scaleDown` of a manifest says."""
        policies = (Policy(p["type"], p["value"], p["periodSeconds"]) for p in body["policies"])
        window = float(body["stabilizationWindowSeconds"])
        return cls(window, tuple(policies), body["selectPolicy"] == "Max")


@dataclass
class Autoscaler:
    """Says how many pods there should be, every PERIOD_S seconds."""

    target: float
    least: int
    most: int
    up: Direction
    down: Direction
    _wishes: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _changes: deque[tuple[float, int]] = field(default_factory=deque, init=False)

    def decide(self, now_s: float, replicas: int, total: float) -> int:
        """Return the replicas wanted at `now_s`, given the metric's sum over all pods."""
        # Quantities are whole thousandths; 2.1 / 0.7 is three pods, not a rounding error more.
        total_m, target_m = round(1000 * total), round(1000 * self.target)
        usage = total_m / (target_m * replicas) if replicas else math.inf
        steady = abs(usage - 1) <= TOLERANCE
        wish = replicas if steady else math.ceil(total_m / target_m)
        wish = min(self.most, max(self.least, wish))
        wish = self._stabilized(now_s, replicas, wish)
        wish = self._limited(now_s, replicas, wish)
        if wish != replicas:
            self._changes.append((now_s, wish - replicas))
        return wish

    def _stabilized(self, now_s: float, replicas: int, wish: int) -> int:
        """Return the wish nearest to `replicas` of those made within each direction's window."""
        self._wishes.append((now_s, wish))
        longest = max(self.up.stabilization_s, self.down.stabilization_s)
        while self._wishes[0][0] < now_s - longest:
            self._wishes.popleft()
        lowest = min(w for t, w in self._wishes if t >= now_s - self.up.stabilization_s)
        highest = max(w for t, w in self._wishes if t >= now_s - self.down.stabilization_s)
        return min(max(replicas, lowest), highest)

    def _limited(self, now_s: float, replicas: int, wish: int) -> int:
        if wish > replicas:
            return min(wish, math.ceil(self._bound(now_s, replicas, self.up, 1)))
        if wish < replicas:
            return max(wish, math.floor(self._bound(now_s, replicas, self.down, -1)))
        return wish

    def _bound(self, now_s: float, replicas: int, direction: Direction, sign: int) -> float:
        """Return how far the policies let it go from where each period began."""
        bounds = []
        for policy in direction.policies:
            since = now_s - policy.period_s
            done = sum(c for t, c in self._changes if t > since and c * sign > 0)
            began = replicas - done
            bounds.append(began + sign * policy.change(began))
        farthest, nearest = (max, min) if sign > 0 else (min, max)
        return (farthest if direction.widest else nearest)(bounds)
