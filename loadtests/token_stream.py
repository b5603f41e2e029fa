"""A streaming client: when each token of an answer arrived."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import httpx

_DATA: Final = "data: "
_DONE: Final = "[DONE]"


class StreamBroken(RuntimeError):
    """A stream that ended with an error, or without its end mark."""


@dataclass
class TokenTimes:
    """One answer: when it was asked for, and when each chunk of tokens arrived."""

    asked_s: float
    arrived_s: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    @property
    def first_token_s(self) -> float:
        """Seconds from the question to the first token."""
        return self.arrived_s[0] - self.asked_s

    @property
    def drain_s(self) -> float:
        """Seconds from the first to the last token: how long its slot could not be taken."""
        return self.arrived_s[-1] - self.arrived_s[0]

    def tokens(self, since_s: float, until_s: float) -> int:
        """Return how many tokens arrived in the window."""
        arrivals = zip(self.arrived_s, self.counts, strict=True)
        return sum(count for at, count in arrivals if since_s <= at < until_s)

    def gaps(self, since_s: float, until_s: float) -> list[float]:
        """Return the seconds to the next chunk, of each chunk that arrived in the window.

        Ask some time after its end: what began in the window may end later.
        """
        return [
            later - earlier
            for earlier, later in pairwise(self.arrived_s)
            if since_s <= earlier < until_s
        ]


def completion(model: str, prompt: list[int], tokens: int) -> dict[str, Any]:
    """Return a streamed completion of exactly `tokens` tokens."""
    return {
        "model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True,
        "temperature": 0, "stream": True, "return_token_ids": True,
    }  # fmt: skip


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> TokenTimes:
    """Return the times of one whole answer. Raises StreamBroken, httpx.HTTPError."""
    times = TokenTimes(time.perf_counter())
    await follow(client, body, times)
    return times


async def follow(client: httpx.AsyncClient, body: dict[str, Any], times: TokenTimes) -> None:
    """Write each arrival into `times` as it happens, so that others may look while it runs."""
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        if answer.status_code != httpx.codes.OK:
            text = (await answer.aread()).decode(errors="replace")
            raise StreamBroken(f"{body['model']}: {answer.status_code} {text[:300]}")
        async for event in _events(answer):
            now = time.perf_counter()
            if "error" in event:
                raise StreamBroken(f"{body['model']}: {str(event['error'])[:300]}")
            fresh = sum(len(choice.get("token_ids") or ()) for choice in event["choices"])
            if fresh:
                times.arrived_s.append(now)
                times.counts.append(fresh)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        text = line.removeprefix(_DATA)
        if text == _DONE:
            return
        if line.startswith(_DATA):
            yield json.loads(text)
    raise StreamBroken("the stream ended without [DONE]")
