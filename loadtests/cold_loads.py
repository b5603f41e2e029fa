"""Request to first token at idle: of an adapter on disk, in memory, and in a slot."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from loadtests.distribution import summary_ms
from loadtests.prompts import fresh_seeds, prompt_ids
from loadtests.recency import Recency
from loadtests.token_stream import ask, completion

_REST_S: Final = 0.05

Figures = dict[str, dict[str, float]]


def measure_cold_loads(url: str, recency: Recency, *, count: int) -> Figures:
    """Return p50 and p95 in milliseconds of `count` requests by where their adapter was.

    The files' pages should be cached. Raises httpx.HTTPError, StreamBroken, ValueError.
    """
    return asyncio.run(_measure(url, recency, count))


async def _measure(url: str, recency: Recency, count: int) -> Figures:
    seeds = fresh_seeds()
    figures: Figures = {}
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:

        async def first_token_s(name: str) -> float:
            await asyncio.sleep(_REST_S)
            times = await ask(client, completion(name, prompt_ids(next(seeds)), 1))
            recency.touch(name)
            return times.first_token_s

        # Now memory is full, and of adapters that were asked for in a known order.
        for name in recency.on_disk(recency.memory):
            await first_token_s(name)
        kept = recency.in_slots(1)[0]
        tiers = {
            "slot": [kept] * count,
            "memory": recency.in_memory(count),
            "disk": recency.on_disk(count),
        }
        for tier, names in tiers.items():
            figures[tier] = summary_ms([await first_token_s(name) for name in names], 50, 95)
    return figures
