"""Arrivals to simulate: Poisson with a rate that changes as real traffic does. Seeded."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final

from loadtests.load.arrivals import Rate, thinned


def step(low: float, high: float, *, at_s: float) -> Rate:
    """Return a rate (requests/s) that jumps once: a campaign goes out."""
    return lambda t: low if t < at_s else high


def burst(low: float, high: float, *, at_s: float, for_s: float) -> Rate:
    """Return a rate that is high for a while: a batch job amid chats."""
    return lambda t: high if at_s <= t < at_s + for_s else low


def day(mean: float, swing: float, *, period_s: float) -> Rate:
    """Return a rate that rises and falls as over a day, `period_s` long."""
    return lambda t: mean * (1 + swing * math.sin(2 * math.pi * t / period_s))


def noisy(rate: Rate, *, swing: float, every_s: float, seed: int) -> Rate:
    """Return `rate` times a factor that changes at random every `every_s` seconds."""
    chance = random.Random(seed)
    factors: list[float] = []

    def changed(t: float) -> float:
        while len(factors) <= t // every_s:
            factors.append(1 + chance.uniform(-swing, swing))
        return rate(t) * factors[int(t // every_s)]

    return changed


def poisson(rate: Rate, *, seconds: float, most: float, seed: int = 0) -> Iterator[float]:
    """Yield arrival times below `seconds`; `most` bounds the rate."""
    return thinned(rate, most, seconds, random.Random(seed))


# For pods that answer 18 requests a second each (cluster.PodKind): half of one to five of them.
SYNTHETIC: Final[dict[str, Rate]] = {
    "steady": lambda _: 30.0,
    "step up": step(8.0, 60.0, at_s=600.0),
    "step down": step(60.0, 8.0, at_s=600.0),
    "burst": burst(10.0, 70.0, at_s=600.0, for_s=120.0),
    "day": day(40.0, 0.8, period_s=7200.0),
    "noisy day": noisy(day(40.0, 0.6, period_s=7200.0), swing=0.3, every_s=90.0, seed=3),
}
