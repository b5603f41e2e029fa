"""A client of /v1/chat/completions that reads the stream and notes when each token came."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from loadtests.load.served import Ending, Served

PROBE_TOKENS: Final = 8
CANDIDATES: Final = 20
_PATH: Final = "/v1/chat/completions"
_SHED: Final = (429, 503)
# A line of a probe holds twenty candidates of several tokens.
_LINE_BYTES: Final = 2**20
# vLLM closes an idle connection after 5 s: who asks just then is sent nothing.
_KEEP_ALIVE_S: Final = 4.0
_DETAIL_CHARS: Final = 200


@dataclass(frozen=True)
class Asking:
    """How requests are put."""

    exactly: bool = True  # as many tokens as planned, whatever the adapter would say
    probes: Mapping[tuple[str, int], str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # more, by model

    def body(self, served: Served) -> dict[str, Any]:
        """Return the JSON of one request."""
        planned = served.planned
        text = planned.text
        if planned.probe is not None:
            text = self.probes[planned.model, planned.probe]
        body = {
            "model": planned.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": planned.tokens if planned.probe is None else PROBE_TOKENS,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.exactly:
            body["ignore_eos"] = True
        if planned.probe is not None:
            body |= {"logprobs": True, "top_logprobs": CANDIDATES}
        return {**body, **self.fields.get(planned.model, {})}


def session(url: str, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session without a limit of connections: an open loop never waits for one."""
    return aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=60),
        headers=headers,
        read_bufsize=_LINE_BYTES,
    )


async def follow(
    client: aiohttp.ClientSession, asking: Asking, served: Served, now: Callable[[], float]
) -> None:
    """Ask, and write into `served` what comes; nothing is raised but CancelledError."""
    try:
        async with client.post(_PATH, json=asking.body(served)) as answer:
            served.status = answer.status
            served.digest = answer.headers.get("x-dragoman-digest", "")
            if answer.status != 200:
                served.detail = (await answer.text())[:_DETAIL_CHARS]
                served.ending = _refusal(answer.status)
            else:
                served.ending = await _read(answer, served, now)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        unreached = isinstance(error, aiohttp.ClientConnectorError)
        served.ending = Ending.UNREACHED if unreached else Ending.LOST
        served.detail = f"{type(error).__name__}: {error}"[:_DETAIL_CHARS]
    served.ended_s = now()


def _refusal(status: int) -> Ending:
    if status in _SHED:
        return Ending.SHED
    return Ending.FAILED if status >= 500 else Ending.REFUSED


async def _read(answer: aiohttp.ClientResponse, served: Served, now: Callable[[], float]) -> Ending:
    """Return how the stream ended. Raises ValueError for what is no event."""
    hangup = served.planned.hangup_after
    if hangup == 0:
        return Ending.LEFT
    async for line in answer.content:
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            return Ending.OK
        event = json.loads(data)
        if "error" in event:
            served.detail = str(event["error"])[:_DETAIL_CHARS]
            return Ending.FAILED
        _note(event, served, now())
        if hangup is not None and len(served.arrived_s) >= hangup:
            return Ending.LEFT
    served.detail = "the stream ended without [DONE]"
    return Ending.LOST


def _note(event: Mapping[str, Any], served: Served, at_s: float) -> None:
    if usage := event.get("usage"):
        served.tokens = usage["completion_tokens"]
    for choice in event["choices"]:
        if choice["delta"].get("content"):
            served.arrived_s.append(at_s)
            served.tokens = max(served.tokens, len(served.arrived_s))
        if served.planned.probe is not None and choice.get("logprobs"):
            served.places += choice["logprobs"]["content"]


def clock() -> Callable[[], float]:
    """Return a function that tells the seconds since now."""
    started = time.perf_counter()
    return lambda: time.perf_counter() - started
