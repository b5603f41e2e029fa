"""A closed loop: each stream asks its adapter again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.distribution import percentile
from loadtests.prompts import fresh_seeds, prompt_ids
from loadtests.token_stream import TokenTimes, completion, follow


@dataclass(frozen=True)
class Window:
    """How long to load before measuring, and how long to measure."""

    warm_s: float
    measure_s: float


@dataclass(frozen=True)
class LoopResult:
    """What the streams of one loop saw in its window."""

    tok_s: float
    first_token_s: tuple[float, ...]
    drain_s: tuple[float, ...]

    def figures(self) -> dict[str, float]:
        """Return throughput, and the time to first token in milliseconds."""
        return {
            "tok_s": round(self.tok_s, 1),
            "ttft_p50_ms": round(percentile(self.first_token_s, 50) * 1000, 1),
            "ttft_p99_ms": round(percentile(self.first_token_s, 99) * 1000, 1),
            "drain_ms": round(percentile(self.drain_s, 99) * 1000, 1) if self.drain_s else 0.0,
            "requests": len(self.first_token_s),
        }


def run_loop(url: str, models: Sequence[str], window: Window, *, tokens: int) -> LoopResult:
    """Return what `models` (one for each stream) got. Raises httpx.HTTPError, StreamBroken.

    Who still waits for his first token at the end counts with the time that he has waited: a
    starved stream must not drop out of the percentiles.
    """
    return asyncio.run(_run(url, models, window, tokens))


async def _run(url: str, models: Sequence[str], window: Window, tokens: int) -> LoopResult:
    seeds = fresh_seeds()
    times: list[TokenTimes] = []

    async def stream(client: httpx.AsyncClient, model: str) -> None:
        while True:
            times.append(TokenTimes(time.perf_counter()))
            body = completion(model, prompt_ids(next(seeds)), tokens)
            await follow(client, body, times[-1])

    limits = httpx.Limits(max_connections=len(models), max_keepalive_connections=len(models))
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        tasks = [asyncio.create_task(stream(client, model)) for model in models]
        started = time.perf_counter() + window.warm_s
        await ended(tasks, window.warm_s + window.measure_s)
    return loop_result(times, (started, time.perf_counter()), tokens_each=tokens)


async def ended(tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
    """Cancel all tasks after `seconds`. Raises what ended one of them before."""
    done, pending = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def loop_result(
    times: Sequence[TokenTimes], window_s: tuple[float, float], *, tokens_each: int
) -> LoopResult:
    """Return the result of the window (begin, end) from all answers, whole or not."""
    since_s, until_s = window_s
    waits, drains = [], []
    for answer in times:
        first = answer.arrived_s[0] if answer.arrived_s else until_s
        if first >= since_s:
            waits.append(first - answer.asked_s)
            # An answer that the window's end cut short has drained for less than it would have.
            whole = sum(answer.counts) == tokens_each
            drains += [answer.drain_s] if whole else []
    tokens = sum(answer.tokens(since_s, until_s) for answer in times)
    return LoopResult(tokens / (until_s - since_s), tuple(waits), tuple(drains))
