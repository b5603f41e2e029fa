"""An open loop: requests arrive when their time has come, whether or not others are answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from loadtests.closed_loop import ended
from loadtests.distribution import percentile
from loadtests.fair_shares import jain_of_entitled, water_filling
from loadtests.prompts import fresh_seeds, prompt_ids
from loadtests.token_stream import TokenTimes, completion, follow

# The last requests of a rare tenant must have a chance to be served in the window.
_LAST_ARRIVAL: Final = 0.85
_SETTLE_S: Final = 2.0


@dataclass(frozen=True)
class Arrival:
    """One request of the plan."""

    at_s: float
    model: str


@dataclass(frozen=True)
class Mix:
    """A group of tenants that asks `ratio` times as often as another."""

    heavy: tuple[str, ...]
    light: tuple[str, ...]
    ratio: float = 100.0


def plan_arrivals(mix: Mix, per_s: float, seconds: float, *, seed: int = 0) -> list[Arrival]:
    """Return `per_s` arrivals a second in all: heavy ones at random times, light ones evenly.

    Tenants of a group take turns, so that equal demands are equal.
    """
    total = per_s * seconds
    light = max(len(mix.light), round(total / (mix.ratio + 1)))
    heavy = round(total - light)
    randomness = random.Random(seed)
    span = seconds * _LAST_ARRIVAL
    arrivals = [
        Arrival(randomness.uniform(0, seconds), mix.heavy[i % len(mix.heavy)]) for i in range(heavy)
    ]
    arrivals += [Arrival(span * i / light, mix.light[i % len(mix.light)]) for i in range(light)]
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def run_mix(url: str, mix: Mix, per_s: float, seconds: float, *, tokens: int) -> dict[str, Any]:
    """Return who was served what, as figures. Raises httpx.HTTPError, StreamBroken."""
    return asyncio.run(_run(url, mix, (per_s, seconds), tokens))


async def _run(url: str, mix: Mix, load: tuple[float, float], tokens: int) -> dict[str, Any]:
    per_s, seconds = load
    arrivals = plan_arrivals(mix, per_s, seconds)
    times: list[tuple[str, TokenTimes]] = []
    seeds = fresh_seeds()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        started = time.perf_counter()

        async def one(arrival: Arrival) -> None:
            await asyncio.sleep(max(0.0, started + arrival.at_s - time.perf_counter()))
            times.append((arrival.model, TokenTimes(time.perf_counter())))
            body = completion(arrival.model, prompt_ids(next(seeds)), tokens)
            await follow(client, body, times[-1][1])

        tasks = [asyncio.create_task(one(arrival)) for arrival in arrivals]
        # Tasks whose turn has not come hold no connection.
        await ended([*tasks, asyncio.create_task(asyncio.sleep(seconds))], seconds)
        await asyncio.sleep(_SETTLE_S)  # the server takes note that nobody listens any more
    return mix_figures(mix, times, (started, started + seconds), tokens=tokens)


def mix_figures(
    mix: Mix,
    times: Sequence[tuple[str, TokenTimes]],
    window_s: tuple[float, float],
    *,
    tokens: int,
) -> dict[str, Any]:
    """Return served and entitled tokens by group, Jain's index, and waits by group."""
    served: Counter[str] = Counter(dict.fromkeys((*mix.heavy, *mix.light), 0))
    demands: Counter[str] = Counter()
    for model, answer in times:
        served[model] += answer.tokens(*window_s)
        demands[model] += tokens
    entitled = water_filling(demands, sum(served.values()))
    groups = {"heavy": mix.heavy, "light": mix.light}
    return {
        "jain": round(jain_of_entitled(served, demands), 3),
        "offered_tokens": sum(demands.values()),
        **{name: _group(members, served, entitled) for name, members in groups.items()},
        "ttft_p99_ms": {
            name: _wait_ms([t for model, t in times if model in members], window_s[1])
            for name, members in groups.items()
        },
    }


def _group(
    members: Sequence[str], served: Mapping[str, float], entitled: Mapping[str, float]
) -> dict[str, float]:
    return {
        "served_tokens": sum(served[name] for name in members),
        "entitled_tokens": round(sum(entitled.get(name, 0.0) for name in members), 1),
    }


def _wait_ms(times: Sequence[TokenTimes], until_s: float) -> float:
    waits = [(t.arrived_s[0] if t.arrived_s else until_s) - t.asked_s for t in times]
    return round(percentile(waits, 99) * 1000, 1)
