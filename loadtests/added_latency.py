"""What everything of ours adds to one request, beside the same request in plain vLLM."""

from __future__ import annotations

import hashlib
import json
import secrets
import statistics
import time
from typing import Any, Final

import httpx

from loadtests.distribution import summary_ms
from loadtests.prompts import fresh_seeds, prompt_ids

_WARM: Final = 20
_TOKENS: Final = 1

Figures = dict[str, Any]


def new_key() -> tuple[str, dict[str, str]]:
    """Return a key, and the variables of a server of ours that knows it, with all its limits.

    Limits that no request here meets are still looked at: they are part of what is measured.
    """
    secret = secrets.token_urlsafe(32)
    key = {
        "name": "bench", "hash": "sha256:" + hashlib.sha256(secret.encode()).hexdigest(),
        "adapters": ["*"], "requests_per_minute": 10**9, "characters_per_minute": 10**9,
        "concurrency": 10**6, "quota": {"characters": 10**12, "tokens": 10**12},
    }  # fmt: skip
    return secret, {"DRAGOMAN_KEYS": json.dumps([key])}


def measure_added_latency(ours: str, plain: str, model: str, *, secret: str, count: int) -> Figures:
    """Return p50 and p95 in milliseconds of `count` requests to each, and what ours adds.

    By turns, one at a time, of one token, so that the engine's own time is short and the same:
    `model` is the base, the prompt is text. `added_p50` is the median of the differences within
    the turns. Raises httpx.HTTPError.
    """
    seeds = fresh_seeds()
    times: dict[str, list[float]] = {"dragoman": [], "vllm": []}
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        httpx.Client(base_url=ours, timeout=60, headers=headers) as with_us,
        httpx.Client(base_url=plain, timeout=60, headers=headers) as without,
    ):
        for turn in range(_WARM + count):
            text = " ".join(map(str, prompt_ids(next(seeds))[:12]))
            body = {"model": model, "prompt": text, "max_tokens": _TOKENS, "temperature": 0}
            order = [("dragoman", with_us), ("vllm", without)]
            for name, client in order if turn % 2 else reversed(order):
                seconds = _ask(client, body)
                if turn >= _WARM:
                    times[name].append(seconds)
    added = [a - b for a, b in zip(times["dragoman"], times["vllm"], strict=True)]
    return {
        **{name: summary_ms(found, 50, 95) for name, found in times.items()},
        "added_p50": round(1000 * statistics.median(added), 2),
    }


def _ask(client: httpx.Client, body: dict[str, Any]) -> float:
    began = time.perf_counter()
    client.post("/v1/completions", json=body).raise_for_status()
    return time.perf_counter() - began
