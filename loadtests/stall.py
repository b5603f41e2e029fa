"""What running streams notice while adapters load: the time between their tokens.

Phases alternate, so that what drifts (the machine, the growing context) drifts in all of them:
`idle`, `control` (requests of one token to an adapter that has its slot: what the request itself
costs), and `loading` (the same requests, each to an adapter that is on disk).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from loadtests.distribution import ratio, summary_ms
from loadtests.prompts import fresh_seeds, prompt_ids
from loadtests.recency import Recency
from loadtests.token_stream import TokenTimes, ask, completion, follow

STREAMS: Final = 8
_LOADS_PER_S: Final = 2.0
_TOKENS: Final = 2000
_SETTLE_S: Final = 1.0

# Makes one adapter resident; the phase decides how.
Load = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Plan:
    """How long each phase lasts, and how many times all of them are gone through."""

    phase_s: float = 8.0
    cycles: int = 3


@dataclass
class _Phase:
    gaps: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)


def measure_stall(
    url: str, recency: Recency, plan: Plan, *, load_api: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Return p50, p99 and p100 of the gaps in milliseconds by phase, and the ratios of p99.

    `load_api`, the adapters' folders, adds a phase that loads by /v1/load_lora_adapter, without
    a generation. Raises httpx.HTTPError, StreamBroken.
    """
    return asyncio.run(_measure(url, recency, plan, load_api))


async def _measure(
    url: str, recency: Recency, plan: Plan, load_api: Mapping[str, Path] | None
) -> dict[str, Any]:
    seeds = fresh_seeds()
    times: list[TokenTimes] = []
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits()) as client:

        async def request(name: str) -> None:
            await ask(client, completion(name, prompt_ids(next(seeds)), 1))

        resident = recency.in_slots(2)
        for name in resident:
            await request(name)
        streams = [
            asyncio.create_task(_endless(client, name, seeds, times))
            for name in itertools.islice(itertools.cycle(resident), STREAMS)
        ]
        phases: dict[str, Load | None] = {"idle": None, "control": request, "loading": request}
        if load_api is not None:
            phases["load_api"] = _loader(client, load_api)
        try:
            await _all_begun(streams, times)
            found = await _alternate(phases, plan, recency, (resident, times, streams))
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
    return summarise({name: phase.gaps for name, phase in found.items()}) | {
        "load_ms": {
            name: summary_ms(phase.loads, 50, 95) for name, phase in found.items() if phase.loads
        }
    }


async def _all_begun(streams: Sequence[asyncio.Task[None]], times: Sequence[TokenTimes]) -> None:
    """Wait for the first token of every stream: their prefill is none of the phases."""
    while len(times) < len(streams) or not all(t.arrived_s for t in times):
        for stream in streams:
            if stream.done():
                stream.result()
        await asyncio.sleep(_SETTLE_S / 10)


async def _alternate(
    phases: Mapping[str, Load | None],
    plan: Plan,
    recency: Recency,
    running: tuple[Sequence[str], list[TokenTimes], Sequence[asyncio.Task[None]]],
) -> dict[str, _Phase]:
    resident, times, streams = running
    found = {name: _Phase() for name in phases}
    count = int(plan.phase_s * _LOADS_PER_S)
    for _ in range(plan.cycles):
        for name, load in phases.items():
            for model in resident:  # their streams use them in every step
                recency.touch(model)
            cold = recency.on_disk(count) if name.startswith("load") else list(resident) * count
            started = time.perf_counter()
            if load is not None:
                found[name].loads += await _paced(load, cold[:count])
            await asyncio.sleep(max(0.0, started + plan.phase_s - time.perf_counter()))
            ended = time.perf_counter()
            await asyncio.sleep(_SETTLE_S)  # a stall that began in this phase ends in none
            found[name].gaps += [g for t in times for g in t.gaps(started, ended)]
            for model in cold[:count]:
                recency.touch(model)
            for stream in streams:
                if stream.done():
                    stream.result()
    return found


async def _paced(load: Load, names: Sequence[str]) -> list[float]:
    """Begin a load every half second, however long each takes; return their seconds."""

    async def timed(name: str) -> float:
        started = time.perf_counter()
        await load(name)
        return time.perf_counter() - started

    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(timed(name)))
        await asyncio.sleep(1 / _LOADS_PER_S)
    return list(await asyncio.gather(*tasks))


async def _endless(
    client: httpx.AsyncClient, name: str, seeds: Any, times: list[TokenTimes]
) -> None:
    while True:
        times.append(TokenTimes(time.perf_counter()))
        await follow(client, completion(name, prompt_ids(next(seeds)), _TOKENS), times[-1])


def _loader(client: httpx.AsyncClient, folders: Mapping[str, Path]) -> Load:
    fresh = itertools.count()

    async def load(name: str) -> None:
        # A name that it has not seen: the known ones are loaded already, by its own account.
        body = {"lora_name": f"fresh-{next(fresh)}-{name}", "lora_path": str(folders[name])}
        (await client.post("/v1/load_lora_adapter", json=body)).raise_for_status()

    return load


def summarise(gaps: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return each phase's percentiles in milliseconds, and p99 over idle's and control's."""
    figures: dict[str, Any] = {name: summary_ms(g, 50, 99, 100) for name, g in gaps.items()}
    ratios = {
        f"{name}_over_{ground}": ratio(figures[name], figures[ground], "p99")
        for name in figures
        for ground in ("idle", "control")
        if name != ground and (name, ground) != ("idle", "control")
    }
    return {**figures, "p99_ratio": ratios}
