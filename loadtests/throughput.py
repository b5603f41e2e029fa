"""Tokens per second of a server at a number of streams: the figure that the benches compare."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

# Ids of ordinary words in Gemma's vocabulary; the work does not depend on which they are, but
# streams must not share a prefix, or the prefix cache would do it for them.
_PROMPT_TOKENS = 24
_FIRST_ID = 1000


@dataclass(frozen=True)
class Load:
    """`streams` requests at a time, each of `tokens` generated tokens, `rounds` times over."""

    streams: int
    tokens: int = 32
    rounds: int = 1


def tokens_per_second(url: str, models: Sequence[str], load: Load) -> float:
    """Return completion tokens / wall seconds, after one warm-up request to each model.

    Streams ask the models in turn. Raises httpx.HTTPStatusError, or ValueError if an answer has
    not exactly the tokens that were asked for.
    """
    return asyncio.run(_measure(url, models, load))


async def _measure(url: str, models: Sequence[str], load: Load) -> float:
    seeds = itertools.count(int(time.time() * 1000) % 100_000)
    limits = httpx.Limits(max_connections=load.streams)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        await asyncio.gather(*(_ask(client, m, 2, next(seeds)) for m in dict.fromkeys(models)))
        started = time.perf_counter()
        done = 0
        for _ in range(load.rounds):
            names = itertools.islice(itertools.cycle(models), load.streams)
            asked = [_ask(client, name, load.tokens, next(seeds)) for name in names]
            done += sum(await asyncio.gather(*asked))
        return done / (time.perf_counter() - started)


async def _ask(client: httpx.AsyncClient, model: str, tokens: int, seed: int) -> int:
    prompt = [2, *(_FIRST_ID + (seed * 31 + i * 7) % 50_000 for i in range(_PROMPT_TOKENS - 1))]
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
    answer = await client.post("/v1/completions", json=body)
    answer.raise_for_status()
    generated = int(answer.json()["usage"]["completion_tokens"])
    if generated != tokens:
        raise ValueError(f"{model}: asked for {tokens} tokens, got {generated}")
    return generated
