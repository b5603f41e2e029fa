"""The figures of a run: what its clients saw, counted from when they meant to ask."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, Final

from loadtests.distribution import percentile
from loadtests.fair_shares import jain
from loadtests.load.scenario import Scenario, Slo
from loadtests.load.served import Ending, Served

# A generator later than this measures itself: the run is void.
LAG_LIMIT_MS: Final = 5.0
_PERCENTS: Final = (50, 90, 95, 99)
# An adapter is called slow beside the others from so many requests on.
_ENOUGH: Final = 10
_SLOWER: Final = 2.0
_SLOWER_MS: Final = 50.0
_TIMES: Final[dict[str, Callable[[Served], float]]] = {
    "ttft": lambda s: s.ttft_s,
    "tpot": lambda s: s.tpot_s,
    "total": lambda s: s.total_s,
}


def figures(served: Sequence[Served], scenario: Scenario) -> dict[str, Any]:
    """Return all figures of the requests that count. Raises ValueError if none was sent."""
    counted = [one for one in served if one.planned.counted]
    whole = [one for one in counted if one.ending is Ending.OK and one.arrived_s]
    endings = Counter(one.ending for one in counted)
    good = sum(is_good(one, scenario.slo) for one in whole)
    stayed = len(counted) - endings[Ending.LEFT]
    return {
        "lag_ms": _summary([one.lag_s for one in served]),
        "requests": {
            "sent": len(counted),
            **{ending.value: endings[ending] for ending in Ending},
            "empty": sum(one.ending is Ending.OK and not one.arrived_s for one in counted),
        },
        "throughput": {
            "offered_per_s": round(len(counted) / scenario.seconds, 3),
            "answered_per_s": round(_ended_within(whole, scenario) / scenario.seconds, 3),
            "tokens_per_s": round(_tokens_within(counted, scenario) / scenario.seconds, 2),
        },
        "goodput": {
            "per_s": round(good / scenario.seconds, 3),
            "share": round(good / max(1, stayed), 4),
        },
        "latency_ms": {name: _by_warmth(whole, time) for name, time in _TIMES.items()},
        "fairness": fairness(whole),
        "adapters": [_adapter(name, some) for name, some in _by_adapter(counted).items()],
    }


def is_good(one: Served, slo: Slo) -> bool:
    """Return whether a whole answer kept what the scenario promises."""
    return one.ttft_s * 1000 <= slo.ttft_ms and one.tpot_s * 1000 <= slo.tpot_ms


def fairness(whole: Sequence[Served]) -> dict[str, Any]:
    """Return Jain's index of the adapters' speeds, and who is slow beside the others.

    The speed of an adapter is the inverse of its median time to first token. Cold requests are
    left out: a first load takes its time.
    """
    times = {
        name: median(one.ttft_s for one in some) * 1000
        for name, some in _by_adapter(one for one in whole if one.planned.warmth != "cold").items()
        if len(some) >= _ENOUGH
    }
    slow = []
    for name, ms in times.items():
        others = [other for key, other in times.items() if key != name]
        if others and ms > max(_SLOWER * median(others), median(others) + _SLOWER_MS):
            slow.append(name)
    index = jain([1 / ms for ms in times.values()]) if times else 1.0
    return {"jain": round(index, 3), "slow": slow, "slow_adapters": len(slow)}


def _by_warmth(whole: Sequence[Served], time: Callable[[Served], float]) -> dict[str, Any]:
    groups: dict[str, list[float]] = {"all": [], "warm": [], "returning": [], "cold": []}
    for one in whole:
        groups["all"].append(time(one))
        groups[one.planned.warmth].append(time(one))
    return {name: _summary(values) for name, values in groups.items() if values}


def _by_adapter(served: Iterable[Served]) -> dict[str, list[Served]]:
    groups: dict[str, list[Served]] = defaultdict(list)
    for one in served:
        groups[one.planned.model].append(one)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def _adapter(name: str, some: Sequence[Served]) -> dict[str, Any]:
    whole = [one for one in some if one.ending is Ending.OK and one.arrived_s]
    return {
        "adapter": name,
        "sent": len(some),
        "ok": len(whole),
        "tokens": sum(one.tokens for one in some),
        "ttft_ms": _summary([one.ttft_s for one in whole]) if whole else None,
        "tpot_ms": _summary([one.tpot_s for one in whole]) if whole else None,
    }


def _ended_within(whole: Sequence[Served], scenario: Scenario) -> int:
    until_s = scenario.warm_s + scenario.seconds
    return sum(one.ended_s <= until_s for one in whole)


def _tokens_within(served: Sequence[Served], scenario: Scenario) -> float:
    """Return the tokens that came within the window; those of one event evenly over its events."""
    until_s = scenario.warm_s + scenario.seconds
    return sum(
        one.tokens * sum(at_s <= until_s for at_s in one.arrived_s) / len(one.arrived_s)
        for one in served
        if one.arrived_s
    )


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    named = {f"p{p}": round(percentile(seconds, p) * 1000, 2) for p in _PERCENTS}
    return {**named, "max": round(max(seconds) * 1000, 2), "n": len(seconds)}
