"""The body of a request: read once, within bounds, and given on to the application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from adapters.errors import BodyTooLarge, BodyTooSlow, RequestInvalid
from serving.door.limits import Limits

Receive = Callable[[], Awaitable[Any]]
# What vLLM takes in a body that steers its engine for all: order, placement, its own ids.
STEERING: Final = frozenset(
    {"priority", "vllm_xargs", "kv_transfer_params", "request_id", "session_id"}
)
_KEY: Final = "api_key"


class ClientGone(Exception):
    """The client hung up before its body was there."""


async def read(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
    """Return the whole body. Raises BodyTooLarge, BodyTooSlow, ClientGone."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_s):
            return await _read(receive, limits)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body was not there after {limits.body_s:g} s; send it faster, or in parts"
        ) from error


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            raise _too_large(limits)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {limits.body_bytes} bytes; send fewer or shorter texts"
    )


def parsed(raw: bytes) -> Any:
    """Return the JSON of a body, None if it is none: then vLLM says what is wrong.

    Raises RequestInvalid for one that is nested too deep to be read at all.
    """
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise RequestInvalid("the JSON is nested too deep; send a flat request") from error
    except ValueError:
        return None


def cleaned(body: Any) -> tuple[Any, str | None]:
    """Return a body without what clients may not say, and the key that it carried."""
    if not isinstance(body, dict) or not (body.keys() & STEERING or _KEY in body):
        return body, None
    key = body.get(_KEY)
    rest = {name: value for name, value in body.items() if name not in STEERING and name != _KEY}
    return rest, key if isinstance(key, str) else None


def replayed(raw: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first, and then what the client does."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return again
