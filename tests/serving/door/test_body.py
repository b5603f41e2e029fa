from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from adapters.errors import BodyTooLarge, BodyTooSlow, RequestInvalid
from serving.door import body
from serving.door.body import ClientGone
from serving.door.limits import Limits

LIMITS = Limits(body_bytes=1024, body_s=0.05)


def arriving(*parts: bytes, more: bool = False) -> Callable[[], Any]:
    """Return a `receive` that gives these parts; more: and then nothing, for ever."""
    queue = list(parts)

    async def receive() -> Any:
        if not queue:
            await asyncio.sleep(60 if more else 0)
            return {"type": "http.disconnect"}
        part = queue.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(queue) or more}

    return receive


def read(receive: Any, headers: dict[str, str] | None = None) -> bytes:
    return asyncio.run(body.read(receive, headers or {}, LIMITS))


def test_a_body_is_read_whole() -> None:
    assert read(arriving(b"ab", b"", b"cd")) == b"abcd"


def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    async def never() -> Any:
        raise AssertionError

    for length in ("1025", "9" * 500):
        with pytest.raises(BodyTooLarge, match="1024 bytes"):
            read(never, {"content-length": length})


def test_a_body_that_grows_too_large_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        read(arriving(b"x" * 1000, b"x" * 1000, b"x" * 10**6, more=True))


def test_a_body_that_trickles_is_given_up() -> None:
    with pytest.raises(BodyTooSlow, match=r"0\.05 s"):
        read(arriving(b"{", more=True))


def test_a_client_that_hangs_up_in_its_body_is_gone() -> None:
    with pytest.raises(ClientGone):
        read(arriving())


def test_json_that_is_nested_too_deep_is_refused_and_other_faults_are_left_to_vllm() -> None:
    with pytest.raises(RequestInvalid, match="nested"):
        body.parsed(b"[" * 200_000)
    assert body.parsed(b"{") is None
    assert body.parsed(b"\xff\xfe") is None


def test_what_steers_the_engine_and_the_key_are_taken_out() -> None:
    said = {"model": "m", "priority": -9, "vllm_xargs": {}, "api_key": "k", "request_id": "r"}
    assert body.cleaned(said) == ({"model": "m"}, "k")
    harmless = {"model": "m"}
    assert body.cleaned(harmless) == (harmless, None)
    assert body.cleaned(harmless)[0] is harmless
    assert body.cleaned([1]) == ([1], None)
    assert body.cleaned({"api_key": 5})[1] is None


def test_the_application_gets_the_body_and_then_what_the_client_does() -> None:
    async def both() -> list[Any]:
        again = body.replayed(b"{}", arriving())
        return [await again(), await again()]

    first, second = asyncio.run(both())
    assert first == {"type": "http.request", "body": b"{}", "more_body": False}
    assert second == {"type": "http.disconnect"}
