"""Tokens per second of a server at a number of streams: the figure that the benches compare."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.prompts import fresh_seeds, prompt_ids

# What a server wants in the body of a request to one of its models, besides the model's name.
Fields = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Load:
    """`streams` requests at a time, each of `tokens` generated tokens, `rounds` times over."""

    streams: int
    tokens: int = 32
    rounds: int = 1


def tokens_per_second(
    url: str, models: Sequence[str], load: Load, *, fields: Fields | None = None
) -> float:
    """Return completion tokens / wall seconds, after one warm-up request to each model.

    Streams ask the models in turn. Raises httpx.HTTPStatusError, or ValueError if an answer has
    not exactly the tokens that were asked for.
    """
    return asyncio.run(_measure(url, models, load, fields or {}))


async def _measure(url: str, models: Sequence[str], load: Load, fields: Fields) -> float:
    seeds = fresh_seeds()
    limits = httpx.Limits(max_connections=load.streams)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def ask(name: str, tokens: int) -> int:
            return await _ask(client, {**_body(name, tokens, next(seeds)), **fields.get(name, {})})

        await asyncio.gather(*(ask(name, 2) for name in dict.fromkeys(models)))
        started = time.perf_counter()
        done = 0
        for _ in range(load.rounds):
            names = itertools.islice(itertools.cycle(models), load.streams)
            done += sum(await asyncio.gather(*(ask(name, load.tokens) for name in names)))
        return done / (time.perf_counter() - started)


def _body(model: str, tokens: int, seed: int) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": prompt_ids(seed),
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }


async def _ask(client: httpx.AsyncClient, body: Mapping[str, Any]) -> int:
    answer = await client.post("/v1/completions", json=body)
    answer.raise_for_status()
    generated = int(answer.json()["usage"]["completion_tokens"])
    if generated != body["max_tokens"]:
        raise ValueError(f"{body['model']}: asked for {body['max_tokens']} tokens, got {generated}")
    return generated
