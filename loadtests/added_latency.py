"""What our layer adds to one request: keys, limits, contract, metrics, log.

Beside vLLM's own API on the same engine of ours, since our kernels answer sooner than plain vLLM's
do, which would hide it; and beside plain vLLM, which is what users would have instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack
from operator import sub
from statistics import median
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


def measure_added_latency(
    urls: Mapping[str, str], model: str, *, secret: str, count: int
) -> Figures:
    """Return p50 and p95 in milliseconds of `count` requests to each of `urls`, ours first.

    By turns, one at a time, of one token: `model` is the base, the prompt is text. `added_p50` is
    the median over the turns of what ours takes longer than each other. Raises httpx.HTTPError.
    """
    seeds = fresh_seeds()
    times: dict[str, list[float]] = {name: [] for name in urls}
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                httpx.Client(
                    base_url=url, timeout=60, headers={"Authorization": f"Bearer {secret}"}
                )
            )
            for name, url in urls.items()
        }
        names = [*urls]
        for turn in range(_WARM + count):
            text = " ".join(map(str, prompt_ids(next(seeds))[:12]))
            body = {"model": model, "prompt": text, "max_tokens": _TOKENS, "temperature": 0}
            for name in names if turn % 2 else reversed(names):
                seconds = _ask(clients[name], body)
                if turn >= _WARM:
                    times[name].append(seconds)
    ours, *others = names
    return {
        "ms": {name: summary_ms(found, 50, 95) for name, found in times.items()},
        "added_p50": {
            name: round(1000 * median(map(sub, times[ours], times[name])), 2) for name in others
        },
    }


def _ask(client: httpx.Client, body: dict[str, Any]) -> float:
    began = time.perf_counter()
    client.post("/v1/completions", json=body).raise_for_status()
    return time.perf_counter() - began
