"""For teams that use Locust: users who ask adapters by popularity and read the stream.

locust -f loadtests/locustfile.py --headless --users 8 --run-time 1m --host http://127.0.0.1:8000

Locust is a closed loop: a user asks again once he is answered, so that a server that stalls is
asked less. `dragoman bench` is the open one, for latencies. Needs `pip install locust`.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from locust import HttpUser, between, events, task

from loadtests.load.texts import Texts

_TEXTS = Texts()


class Translator(HttpUser):
    """One user: a segment, a pause to read, the next."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Find the adapters, and which of them this user likes."""
        cards = self.client.get("/v1/models").json()["data"]
        adapters = [card["id"] for card in cards if card.get("parent") or card.get("dragoman")]
        self.models = adapters or [card["id"] for card in cards]
        self.weights = [1 / rank for rank in range(1, len(self.models) + 1)]
        self.chance = random.Random(id(self))

    @task
    def translate(self) -> None:
        """Ask for one segment; the time to its first token is an entry of its own."""
        (model,) = self.chance.choices(self.models, self.weights)
        _, text = _TEXTS.drawn(self.chance.randrange(10**9), self.chance)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": _TEXTS.answer_tokens(text),
            "temperature": 0,
            "stream": True,
        }
        started = time.perf_counter()
        asked: dict[str, Any] = {"json": body, "stream": True, "catch_response": True}
        with self.client.post("/v1/chat/completions", name=model, **asked) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text[:200]}")
                return
            self._read(answer, model, started)

    def _read(self, answer: Any, model: str, started: float) -> None:
        first = True
        for line in answer.iter_lines():
            data = line.removeprefix(b"data: ")
            if data == b"[DONE]":
                answer.success()
                return
            if not line.startswith(b"data: "):
                continue
            event = json.loads(data)
            if "error" in event:
                answer.failure(str(event["error"])[:200])
                return
            if first and event["choices"] and event["choices"][0]["delta"].get("content"):
                first = False
                waited_ms = (time.perf_counter() - started) * 1000
                events.request.fire(
                    request_type="first token", name=model, response_time=waited_ms,
                    response_length=0, exception=None, context={},
                )  # fmt: skip
        answer.failure("the stream ended without [DONE]")
