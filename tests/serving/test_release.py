"""A version is in use until its request's last byte, however the request ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from adapters.registry import Published
from serving.chat import Contracts
from serving.resolver import Resolved
from tests.serving.conftest import Publish
from tests.serving.test_traffic import Rig


class Used:
    """One use of a version; `end` is whether the use had ended when the last byte was made."""

    def __init__(self, published: Published) -> None:
        self.released = 0
        self.ended_early = False
        self.resolved = Resolved(published, 1, "name:stable", self._release)

    def _release(self) -> None:
        self.released += 1

    async def stream(self, request: Request) -> Response:
        request.state.dragoman = self.resolved

        async def lines() -> Any:
            for _ in range(3):
                self.ended_early |= bool(self.released)
                yield "data: x\n\n"
                await asyncio.sleep(0.001)

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def hangs(self, request: Request) -> Response:
        request.state.dragoman = self.resolved
        await asyncio.sleep(60)
        return PlainTextResponse("too late")

    async def fails(self, request: Request) -> Response:
        request.state.dragoman = self.resolved
        raise RuntimeError("boom")


@pytest.fixture
def used(publish: Publish) -> Used:
    return Used(publish())


def test_a_stream_uses_its_version_to_the_last_byte(used: Used) -> None:
    asyncio.run(Rig(used.stream).ask())
    assert (used.released, used.ended_early) == (1, False)


def test_a_request_that_fails_or_is_cancelled_uses_it_no_longer(used: Used) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(Rig(used.fails).ask())
    assert used.released == 1

    async def cancel() -> None:
        asking = asyncio.create_task(Rig(used.hangs).ask())
        for _ in range(20):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(cancel())
    assert used.released == 2


def test_without_a_gate_the_use_ends_with_the_answer(used: Used) -> None:
    class Names:
        lora_requests: tuple[str, ...] = ()

        def is_base_model(self, _: str) -> bool:
            return False

        async def resolve(self, _: str) -> Resolved:
            return used.resolved

    class Asked:
        model = "ui-en-fr"
        model_fields_set: frozenset[str] = frozenset()

    async def create(_: Any, __: Any) -> str:
        assert used.released == 0
        return "answer"

    names: Any = Names()
    tokenizer: Any = None
    answer = Contracts(names, names, tokenizer).answer(Asked(), None, create)
    assert asyncio.run(answer) == "answer"
    assert used.released == 1
