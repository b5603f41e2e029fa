"""Broken requests by the hundred: none may be answered 5xx, and none may end the server.

Seeded: whole bodies with one thing wrong, bytes that are no JSON, odd headers, other methods.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from loadtests.load import client

_SHOWN: Final = 5
_ROUTES: Final = ("/v1/chat/completions", "/v1/completions")
_ODD: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1e308, 10**30, "", "x" * 20_000, "\ud800", "\0", [], {}, [[]], {"a": {}},
    [None], float("nan"), "../../etc/passwd", "id@", "@stable", "a@99999999999999999999",
)  # fmt: skip
_KEYS: Final = (
    "model", "messages", "prompt", "max_tokens", "temperature", "top_p", "n", "stop", "stream",
    "logprobs", "top_logprobs", "logit_bias", "seed", "tools", "tool_choice", "response_format",
    "stream_options", "metadata", "user", "best_of", "echo", "suffix", "min_tokens",
    "stop_token_ids", "prompt_logprobs", "priority", "guided_json", "lora_request", "unheard_of",
)  # fmt: skip
_RAW: Final = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": ' + b"[" * 2000, b"0" * 100_000,
    b'{"model": "x", "model": "y"}', b"\x00" * 100,
)  # fmt: skip


@dataclass(frozen=True)
class BadRequest:
    """One request that is wrong somewhere."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]


def bad_requests(count: int, models: tuple[str, ...], seed: int = 0) -> Iterator[BadRequest]:
    """Yield `count` of them."""
    chance = random.Random(seed)
    for number in range(count):
        path = _ROUTES[number % len(_ROUTES)]
        headers = {"content-type": "application/json"}
        if number % 10 == 0:
            yield BadRequest("POST", path, chance.choice(_RAW), headers)
        elif number % 25 == 1:
            yield BadRequest(chance.choice(("PUT", "DELETE", "PATCH", "GET")), path, b"{}", headers)
        elif number % 25 == 2:
            odd = {"content-type": chance.choice(("text/plain", "multipart/form-data", "x" * 300))}
            yield BadRequest("POST", path, b'{"model": "x"}', odd)
        else:
            body = _whole(path, chance.choice(models))
            for _ in range(chance.choice((1, 1, 2))):
                body[chance.choice(_KEYS)] = chance.choice(_ODD)
            yield BadRequest("POST", path, json.dumps(body).encode(), headers)


def _whole(path: str, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "max_tokens": 2, "temperature": 0}
    if path == "/v1/completions":
        return {**body, "prompt": "Open the file."}
    return {**body, "messages": [{"role": "user", "content": "Open the file."}]}


@dataclass
class Outcome:
    """How many answers had each status ("none": the connection broke), and the server's faults.

    `faults` are the first few requests that were not answered as what they are, with the answer.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, bad: BadRequest, status: str, said: str) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        if (status == "none" or status[0] == "5") and len(self.faults) < _SHOWN:
            self.faults.append(
                f"{bad.method} {bad.path} {bad.body[:1000]!r}: {status} {said[:500]}"
            )

    @property
    def is_good(self) -> bool:
        """Whether no request brought the server into trouble."""
        return not self.faults


async def tried(url: str, models: tuple[str, ...], count: int, seed: int = 0) -> Outcome:
    """Send `count` broken requests, eight at a time; return how they were answered."""
    found = Outcome()
    gate = asyncio.Semaphore(8)
    async with client.session(url, {}) as session:

        async def ask(bad: BadRequest) -> None:
            async with gate:
                try:
                    async with session.request(
                        bad.method, bad.path, data=bad.body, headers=bad.headers
                    ) as answer:
                        found.note(bad, str(answer.status), await answer.text(errors="replace"))
                except aiohttp.ClientError as error:
                    found.note(bad, "none", repr(error))

        await asyncio.gather(*(ask(bad) for bad in bad_requests(count, models, seed)))
    return found
