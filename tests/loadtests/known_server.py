"""A server of known latencies and planted faults, in a process of its own.

python known_server.py '{"first_s": 0.4}'      prints its port, then serves until it is ended
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web


@dataclass
class Known:
    """What the server does."""

    adapters: list[str] = field(default_factory=lambda: ["alpha", "beta", "gamma"])
    first_s: float = 0.0  # from the question to the first token
    each_s: float = 0.0  # from token to token
    stall_at_s: float | None = None  # after the first question
    stall_s: float = 1.0
    mixed_up: str = ""  # this adapter is answered by the weights of the first one
    mixed_from: int = 0  # from this question on
    slow: str = ""  # this adapter takes ten times as long
    lose_every: int = 0  # streams that break off without a word
    error_every: int = 0  # streams that end with an error
    shed_every: int = 0  # questions that are answered 503
    leak: bool = False  # a metric series and a megabyte a question
    zombie: bool = False  # its engine goes on with a request that nobody waits for


@contextmanager
def known(server: Known) -> Iterator[str]:
    """Yield its address while it runs."""
    command = [sys.executable, str(Path(__file__).resolve()), json.dumps(asdict(server))]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
            process.communicate(timeout=10)


class Server:
    """The application."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.asked = 0
        self.answered: dict[str, float] = {}  # by text: when its first token was written
        self.leaked: list[bytearray] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/answered", self.told_answered)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def models(self, _: web.Request) -> web.Response:
        cards: list[dict[str, Any]] = [{"id": "base"}]
        cards += [{"id": name, "parent": "base"} for name in self.known.adapters]
        return web.json_response({"object": "list", "data": cards})

    async def metrics(self, _: web.Request) -> web.Response:
        lines = [f"vllm:num_requests_running {int(self.known.zombie)}"]
        lines += [f'asked_total{{number="{n}"}} 1' for n in range(len(self.leaked))]
        lines += [f"process_resident_memory_bytes {1e8 + 1e6 * len(self.leaked)}"]
        lines += [f"process_open_fds {20}"]
        return web.Response(text="\n".join(lines) + "\n")

    async def told_answered(self, _: web.Request) -> web.Response:
        """The truth, on the clock that all processes of a machine share."""
        return web.json_response(self.answered)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked_s, number = time.perf_counter(), self.asked
        self._count()
        if _every(self.known.shed_every, number):
            return web.Response(status=503, headers={"Retry-After": "1"})
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        answer.content_type = "text/event-stream"
        await answer.prepare(request)
        factor = 10 if body["model"] == self.known.slow else 1
        for place in range(body["max_tokens"]):
            due = asked_s + factor * (self.known.first_s + place * self.known.each_s)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if place == 1 and _every(self.known.lose_every, number):
                assert request.transport is not None
                request.transport.abort()
                return answer
            if place == 1 and _every(self.known.error_every, number):
                await _event(answer, {"error": {"message": "the engine has died"}})
                break
            self.answered.setdefault(body["messages"][0]["content"], time.perf_counter())
            await _event(answer, {"choices": [self._choice(body, place, number)]})
        await _event(answer, {"choices": [], "usage": {"completion_tokens": body["max_tokens"]}})
        await answer.write(b"data: [DONE]\n\n")
        return answer

    def _count(self) -> None:
        self.asked += 1
        if self.known.leak:
            self.leaked.append(bytearray(1))
        if self.asked == 1 and self.known.stall_at_s is not None:
            stall = self.known.stall_s
            asyncio.get_running_loop().call_later(self.known.stall_at_s, time.sleep, stall)

    def _choice(self, body: dict[str, Any], place: int, number: int) -> dict[str, Any]:
        model = body["model"]
        if model == self.known.mixed_up and number >= self.known.mixed_from:
            model = self.known.adapters[0]
        text = body["messages"][0]["content"]
        token = hashlib.sha256(f"{model} {text} {place}".encode()).hexdigest()[:6]
        choice: dict[str, Any] = {"index": 0, "delta": {"content": f" {token}"}}
        if body.get("logprobs"):
            others = [{"token": f"{token}{i}", "logprob": -1.0 - i} for i in range(3)]
            best = {"token": token, "logprob": -0.1}
            choice["logprobs"] = {"content": [{**best, "top_logprobs": [best, *others]}]}
        return choice


def _every(count: int, number: int) -> bool:
    return bool(count) and number % count == count - 1


async def _event(answer: web.StreamResponse, value: Any) -> None:
    await answer.write(f"data: {json.dumps(value)}\n\n".encode())


async def main() -> None:
    server = Server(Known(**json.loads(sys.argv[1])))
    runner = web.AppRunner(server.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
