"""More active adapters than slots, in the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, RunningServer

pytestmark = pytest.mark.engine
FAIR_WAIT_S = 2.0


class Stream:
    """Requests to one adapter, several at a time, without a pause."""

    def __init__(self, server: RunningServer, model: str, *, tokens: int = 24) -> None:
        self.longest_s = 0.0
        self.answered = 0
        self._server, self._model, self._tokens = server, model, tokens
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
            # Out of step with each other, so that the adapter never leaves its slot by chance.
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _ask(self) -> None:
        while not self._over.is_set():
            _, taken_s = timed(self._server, self._model, self._tokens)
            self.longest_s = max(self.longest_s, taken_s)
            self.answered += 1


def timed(server: RunningServer, model: str, tokens: int) -> tuple[float, float]:
    """Return the times to the first token, and from there to the end, of one request."""
    asked = time.monotonic()
    chunks = server.client.completions.create(
        model=model, prompt="Open the file.", max_tokens=tokens, stream=True,
        extra_body={"ignore_eos": True, "min_tokens": tokens},
    )  # fmt: skip
    first = None
    for _ in chunks:
        first = first or time.monotonic()
    assert first is not None
    return first - asked, time.monotonic() - first


def test_a_steady_stream_on_both_slots_does_not_starve_the_third(server: RunningServer) -> None:
    timed(server, "gamma-en-de", 2)
    before = server.metric("dragoman_deferred_seconds_sum", adapter="gamma-en-de")
    with Stream(server, "alpha-en-fr") as alpha, Stream(server, "beta-en-fr") as beta:
        time.sleep(1)
        waits = []
        for _ in range(3):
            waits.append(timed(server, "gamma-en-de", 2)[0])
            time.sleep(0.3)
    drain_s = max(alpha.longest_s, beta.longest_s)
    # A second for HTTP, prefill and whatever else two cores do.
    assert max(waits) <= FAIR_WAIT_S + drain_s + 1, (waits, drain_s)
    assert min(alpha.answered, beta.answered) > 3
    deferred_s = server.metric("dragoman_deferred_seconds_sum", adapter="gamma-en-de") - before
    # Else there was no contention, and this proves nothing.
    assert 1 < deferred_s <= sum(waits)


def test_what_the_scheduler_says_is_not_shown_to_clients(server: RunningServer) -> None:
    answer = server.client.completions.create(model="alpha-en-fr", prompt="Help", max_tokens=2)
    assert "dragoman_deferred" not in answer.model_dump_json()


def test_a_pin_and_two_other_adapters_do_not_end_the_engine(tmp_path: Path) -> None:
    base = tmp_path / "base"
    folder = Path(__file__).parent
    subprocess.run([sys.executable, str(folder / "tiny_base.py"), str(base)], check=True)
    done = subprocess.run(
        [sys.executable, str(folder / "pinned_engine.py"), str(base), "fair"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    # vLLM logs to the same stream, also after the last answer.
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "answered" in done.stdout.splitlines()
