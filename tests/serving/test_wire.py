"""Real connections to a gate without an engine: what they hold, and for how long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from loadtests.hostile import LARGE_HEADS, NONSENSE, Target, head, post
from serving.door.limits import Limits
from serving.gate import Gate
from serving.metrics import Metrics
from serving.traffic import Traffic
from serving.wire import HEAD_BYTES
from tests.serving.door.rig import open_door

pytestmark = pytest.mark.slow
PATIENCE_S = 0.15
LIMITS = Limits(body_s=PATIENCE_S, body_bytes=4096)
WHOLE = post("/v1/completions", {"prompt": "Help"})
READY = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """uvicorn as vLLM starts it, in a thread."""

    def __init__(self) -> None:
        self.hangups = 0
        self.app = Starlette(
            routes=[
                Route("/ready", self.ready),
                Route("/v1/completions", self.answer, methods=["POST"]),
            ]
        )
        self.app.add_middleware(Gate)
        state = self.app.state
        state.dragoman = state.dragoman_traffic = Traffic(Metrics(CollectorRegistry()))
        state.dragoman_door, _ = open_door(Path("nowhere"), limits=LIMITS)
        config = uvicorn.Config(self.app, port=0, log_config=None, access_log=False)
        self.uvicorn = state.server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self.uvicorn.run)

    def start(self) -> Target:
        self._thread.start()
        while not self.uvicorn.started:
            time.sleep(0.005)
        host, port = self.uvicorn.servers[0].sockets[0].getsockname()
        target = Target(host, port)
        assert target.told(READY) == 200
        return target

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self._thread.join(10)

    async def ready(self, _: Request) -> JSONResponse:
        self.loop = asyncio.get_running_loop()
        return JSONResponse({})

    async def answer(self, request: Request) -> Any:
        body = await request.json()
        if "show" in body:
            return JSONResponse(sorted(request.headers))
        if "parts" not in body:
            return JSONResponse(body)
        return StreamingResponse(self.parts(body["parts"]))

    async def parts(self, count: int) -> Any:
        try:
            for _ in range(count):
                yield b"x" * 10_000
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.hangups += 1
            raise

    def at_rest(self) -> tuple[int, int]:
        """Return how many connections and tasks there are."""
        assert self.loop is not None
        state = self.uvicorn.server_state
        return len(state.connections), len(state.tasks)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    running.target = running.start()  # type: ignore[attr-defined]
    yield running
    running.stop()


@pytest.fixture
def target(server: Server) -> Iterator[Target]:
    """Where it listens; afterwards, nothing is left of what was sent there."""
    yield server.target  # type: ignore[attr-defined]
    comes_about(lambda: server.at_rest() == (0, 0), "connections or requests are left")
    assert server.target.told(READY) == 200  # type: ignore[attr-defined]


def comes_about(condition: Any, otherwise: str) -> None:
    deadline = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_nobodys_fault_but_its_senders(target: Target, name: str) -> None:
    assert target.told(NONSENSE[name]) in {0, 101, 200, 400, 403, 404, 405, 408}


@pytest.mark.parametrize("name", LARGE_HEADS)
def test_a_large_head_is_refused(target: Target, name: str) -> None:
    assert target.told(LARGE_HEADS[name]) == 431


def test_a_head_without_end_is_refused_before_it_is_kept(target: Target) -> None:
    with target.connect() as line:
        line.send(READY[:-2] + b"X-Endless: ")
        sent = 0
        while sent < 2**24 and line.send(b"x" * 8192):
            sent += 8192
        assert line.status() in {0, 431}
    assert sent < 2**24


CHUNKED = READY.replace(b"GET /ready", b"POST /v1/completions")[:-2] + (
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def test_a_trailer_is_no_header(target: Target) -> None:
    with target.connect() as line:
        line.send(CHUNKED + b'b\r\n{"show": 1}\r\n0\r\nAuthorization: Bearer x\r\n\r\n')
        heard = line.hear(b"]")
    assert b'"host"' in heard
    assert b"authorization" not in heard


@pytest.mark.parametrize("endless", [b"0\r\nX-Endless: ", b"1;"])
def test_what_is_neither_head_nor_body_is_not_kept(target: Target, endless: bytes) -> None:
    with target.connect() as line:
        line.send(CHUNKED + b"1\r\n{\r\n" + endless)
        sent = 0
        while sent < 2**24 and line.send(b"x" * 8192):
            sent += 8192
    assert sent < 2**24


def test_a_head_that_does_not_come_is_not_waited_for(target: Target) -> None:
    with target.connect() as silent, target.connect() as slow, target.connect() as empty:
        slow.send(READY[:10])
        empty.send(b"\r\n")
        assert slow.status(timeout_s=2) == 408
        assert silent.is_cut(timeout_s=2)
        assert empty.is_cut(timeout_s=2)


def test_a_second_head_that_does_not_come_is_not_waited_for(target: Target) -> None:
    with target.connect() as line:
        line.send(READY)
        assert line.status() == 200
        line.send(READY[:10])
        assert line.is_cut(timeout_s=2)


def test_a_body_that_drips_is_not_waited_for(target: Target) -> None:
    with target.connect() as line:
        line.send(head("/v1/completions", 1000))
        assert not line.drip(b"{" * 1000, every_s=0.02, seconds=2)
        assert line.status() == 408


def test_what_is_left_of_a_refused_body_is_not_waited_for(target: Target) -> None:
    with target.connect() as line:
        line.send(head("/v1/completions", 10**9, close=False))
        assert line.status() == 413
        assert not line.drip(b"{" * 1000, every_s=0.02, seconds=2)


def test_a_refusal_is_heard_by_one_who_still_sends(target: Target) -> None:
    with target.connect() as line:
        line.send(head("/v1/completions", 60_000, close=False) + b"{" * 60_000)
        assert line.status() == 413
        line.heard = b""
        line.send(READY)
        assert line.status() == 200


def test_who_does_not_read_is_cut_off(server: Server, target: Target) -> None:
    hangups = server.hangups
    with target.connect(buffer_bytes=2048) as line:
        line.send(post("/v1/completions", {"parts": 10_000}))
        assert line.status() == 200
        comes_about(lambda: server.hangups > hangups, "it is still sent to")


def test_a_request_before_others_learns_that_its_client_hung_up(
    server: Server, target: Target
) -> None:
    hangups = server.hangups
    with target.connect() as line:
        line.send(post("/v1/completions", {"parts": 10_000}, close=False) + READY * 50)
        assert line.status() == 200
    comes_about(lambda: server.hangups > hangups, "it still runs")


def test_who_closes_its_half_hangs_up(server: Server, target: Target) -> None:
    hangups = server.hangups
    with target.connect() as line:
        line.send(post("/v1/completions", {"parts": 10_000}))
        assert line.status() == 200
        line.half_close()
        comes_about(lambda: server.hangups > hangups, "it still runs")
        assert line.is_cut(timeout_s=2)


def test_requests_in_one_go_are_answered_in_order(target: Target) -> None:
    with target.connect() as line:
        line.send(READY * 3 + post("/v1/completions", {"prompt": "last"}))
        heard = line.hear()
        assert heard.count(b"HTTP/1.1 200") == 4
        assert heard.endswith(b'"last"}')


def test_a_body_behind_a_whole_head_is_not_taken_for_a_head(target: Target) -> None:
    assert HEAD_BYTES > 4096
    body = {"prompt": "x" * 4000}
    for _ in range(2):
        with target.connect() as line:
            line.send(post("/v1/completions", body, close=False) * 20)
            comes_about(lambda: line.hear(timeout_s=0.1).count(b" 200 OK") == 20, "some are lost")


def test_whoever_asks_steadily_keeps_the_connection(target: Target) -> None:
    with target.connect() as line:
        for _ in range(4):
            line.heard = b""
            line.send(READY)
            assert line.status() == 200
            time.sleep(PATIENCE_S / 2)
