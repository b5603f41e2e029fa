"""Broken requests by the hundred: none may be answered 5xx, and none may end the server.

Seeded: whole bodies with one thing wrong, bytes that are no JSON or not as announced, texts that
are nested deep, odd headers and queries, other methods, keys that are none.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from loadtests.load import client

_SHOWN: Final = 5
_ROUTES: Final = ("/v1/chat/completions", "/v1/completions")
_ODD: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1e308, 10**30, "", "x" * 20_000, "\ud800", "\0", [], {}, [[]], {"a": {}},
    [None], float("nan"), "../../etc/passwd", "id@", "@stable", "a@99999999999999999999",
    2**31, 2**63, -(2**63), 10**400, -(10**400), float("-inf"), "a\u202e\U0001f600", [1, "a", None],
    [[2**31]], [-1], {"": ""}, {"type": "text"}, "\ud83d", "0", "true",
)  # fmt: skip
_KEYS: Final = (
    "model", "messages", "prompt", "max_tokens", "temperature", "top_p", "n", "stop", "stream",
    "logprobs", "top_logprobs", "logit_bias", "seed", "tools", "tool_choice", "response_format",
    "stream_options", "metadata", "user", "best_of", "echo", "suffix", "min_tokens",
    "stop_token_ids", "prompt_logprobs", "guided_json", "lora_request", "unheard_of",
    "max_completion_tokens", "structured_outputs", "truncate_prompt_tokens", "use_beam_search",
    "chat_template", "chat_template_kwargs", "documents", "cache_salt", "ignore_eos", "bad_words",
    # What the door takes out.
    "priority", "vllm_xargs", "kv_transfer_params", "request_id", "session_id", "api_key",
)  # fmt: skip
_RAW: Final = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": ' + b"[" * 2000, b"0" * 100_000,
    b'{"model": "x", "model": "y"}', b"\x00" * 100, b'{"model": "\xff"}',
    b'{"model": 1' + b"0" * 5000,
    b'{"model": "x", "n": ' + b"9" * 5000 + b"}", b'{"priority": 1, "n": -1e999, "api_key": NaN}',
)  # fmt: skip
_DEPTHS: Final = (2, 40, 300, 900, 975, 990, 1100)
_QUERIES: Final = (
    "a&" * 150, "api_key=%00", "api_key=%ff&auth_key=%fe", "auth_key=" + "k" * 5000, "%", "=&=&=",
    "stream=true&model=x", "api_key[]=1",
)  # fmt: skip
_HEADERS: Final = tuple(
    (name, value)
    for name in (
        "Authorization", "X-Request-Id", "Traceparent", "Accept", "Accept-Encoding", "Cookie",
        "X-Vllm-Priority", "X-data-parallel-rank", "X-Dragoman-Priority", "Origin", "Content-Type",
        "X-Forwarded-For", "Expect", "Range", "If-None-Match", "Host",
    )
    for value in ("", "x" * 5000, "Bearer ", "Bearer \u00ff", "DeepL-Auth-Key x:fx", "-1", "\t,;=")
)  # fmt: skip
# How a body may be written that is announced as JSON.
_WRITTEN: Final[tuple[Callable[[str], bytes], ...]] = (
    lambda text: gzip.compress(text.encode()),
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode("utf-32-be"),
    lambda text: text.replace("Open", "\u00d6ffne").encode("latin-1"),
    lambda text: text.replace("Open", "\0").encode(),
    lambda text: text.replace("{", '{"model": "none", "n": [], ', 1).encode(),
    lambda text: text.encode()[:-1],
    lambda text: text.encode() * 2,
)


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
    kinds = (_raw, _nested, _written, _odd_headers, _odd_query, _otherwise)
    for number in range(count):
        path = _ROUTES[number % len(_ROUTES)]
        turn = number % 30 // 2
        kind = kinds[turn] if turn < len(kinds) else _odd_values
        yield kind(chance, path, chance.choice(models))


def _posted(path: str, body: bytes, **headers: str) -> BadRequest:
    return BadRequest("POST", path, body, {"content-type": "application/json", **headers})


def _raw(chance: random.Random, path: str, _: str) -> BadRequest:
    return _posted(path, chance.choice(_RAW))


def _odd_values(chance: random.Random, path: str, model: str) -> BadRequest:
    body = _whole(path, model)
    for _ in range(chance.choice((1, 1, 2))):
        body[chance.choice(_KEYS)] = chance.choice(_ODD)
    return _posted(path, json.dumps(body).encode())


def _nested(chance: random.Random, path: str, model: str) -> BadRequest:
    body, depth = _whole(path, model), chance.choice(_DEPTHS)
    for name in chance.sample(_KEYS, chance.choice((1, 3))):
        body[name] = "@@"
    left, right = chance.choice((("[", "]"), ('{"a": ', "}"), ('[{"type": ', "}]")))
    nest = left * depth + "1" + right * depth
    return _posted(path, json.dumps(body).replace('"@@"', nest).encode())


def _written(chance: random.Random, path: str, model: str) -> BadRequest:
    write = chance.choice(_WRITTEN)
    packed = {"Content-Encoding": "gzip"} if write is _WRITTEN[0] else {}
    return _posted(path, write(json.dumps(_whole(path, model))), **packed)


def _odd_headers(chance: random.Random, path: str, model: str) -> BadRequest:
    body = json.dumps(_whole(path, model)).encode()
    return _posted(path, body, **dict(chance.sample(_HEADERS, 2)))


def _odd_query(chance: random.Random, path: str, model: str) -> BadRequest:
    body = json.dumps(_whole(path, model)).encode()
    return _posted(f"{path}?{chance.choice(_QUERIES)}", body)


def _otherwise(chance: random.Random, path: str, model: str) -> BadRequest:
    if chance.random() < 0.5:
        method = chance.choice(("PUT", "DELETE", "PATCH", "GET", "HEAD", "OPTIONS", "TRACE"))
        return BadRequest(method, path, b"{}", {"content-type": "application/json"})
    kind = chance.choice(("text/plain", "multipart/form-data", "x" * 300))
    return _posted(path, json.dumps(_whole(path, model)).encode(), **{"content-type": kind})


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


async def tried(
    url: str,
    models: tuple[str, ...],
    count: int,
    seed: int = 0,
    *,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Send `count` broken requests, sixteen at a time; return how they were answered.

    headers go with each that has none of that name.
    """
    found = Outcome()
    gate = asyncio.Semaphore(16)
    async with client.session(url, headers or {}) as session:

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
