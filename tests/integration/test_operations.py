"""What operators rely on: figures that agree with the access log, death without hanging clients."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter

import httpx
import pytest

from tests.integration.harness import WORDS, RunningServer
from tests.integration.streams import Client, descendants, status, wait_until

pytestmark = pytest.mark.engine
ACCESS = re.compile(r" POST (/v1/(?:chat/)?completions) (\d+) \d+ ms")


def logged(server: RunningServer) -> Counter[tuple[str, str]]:
    """Return how often each route answered each status, by the access log."""
    return Counter(ACCESS.findall(server.log.read_text(errors="replace")))


def counted(server: RunningServer, *names: str) -> Counter[tuple[str, ...]]:
    """Return the edge's counts by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for sample in server.samples("dragoman_http_requests_total"):
        found[tuple(sample.labels[name] for name in names)] += int(sample.value)
    return found


def test_every_answer_is_counted_once_as_the_access_log_has_it(server: RunningServer) -> None:
    log, edge = logged(server), counted(server, "route", "status")
    adapters = counted(server, "adapter", "version", "status")
    prompts = server.metric("dragoman_requests_total", adapter="alpha-en-fr")
    bodies = [
        {"model": "alpha-en-fr@1", "max_tokens": 8},
        {"model": "alpha-en-fr@1", "max_tokens": 8, "stream": True},
        {"model": "alpha-en-fr@1", "max_tokens": 8, "n": 2, "temperature": 0.5},
        {"model": "alpha-en-fr@1", "max_tokens": 8, "prompt": ["Help", "Undo"]},
        {"model": "alpha-en-fr@1", "max_tokens": 4, "n": 2, "use_beam_search": True},
        {"model": "alpha-en-fr@1", "max_tokens": -1},
        {"model": "gemma3-270m", "max_tokens": 8},
        {"model": "nowhere-en-fr", "max_tokens": 8},
        {"model": "alpha-en-fr@1", "max_tokens": 8, "prompt": 17},
    ]
    clients = [Client(server.url, **body) for body in bodies]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/completions",
            json={"model": "beta-en-fr@1", "prompt": "x", "max_tokens": 1000, "ignore_eos": True},
            timeout=1.0,
        )
    with httpx.Client() as leaving, leaving.stream(
        "POST",
        f"{server.url}/v1/completions",
        json={"model": "beta-en-fr@1", "prompt": "x", "max_tokens": 1000, "ignore_eos": True,
              "stream": True},
    ) as answer:  # fmt: skip
        next(answer.iter_lines())
    httpx.post(f"{server.url}/v1/chat/completions", content=b"{")
    for client in clients:
        client.wait()
    wait_until(lambda: counted(server, "status")["499",] == edge_of(edge, "499") + 1)

    found = counted(server, "route", "status") - edge
    wait_until(lambda: found == logged(server) - log)  # a line is written after its answer
    assert sum(found.values()) == len(bodies) + 3
    by_adapter = counted(server, "adapter", "version", "status") - adapters
    assert by_adapter["alpha-en-fr", "1", "200"] == 5
    assert by_adapter["beta-en-fr", "1", "200"] == 1
    assert by_adapter["beta-en-fr", "1", "499"] == 1
    assert by_adapter["base", "", "200"] == 1
    assert by_adapter["", "", "404"] == 1
    # One for each prompt: choices and beams are not requests of their own.
    assert server.metric("dragoman_requests_total", adapter="alpha-en-fr") - prompts == 6


def edge_of(edge: Counter[tuple[str, ...]], status_code: str) -> int:
    return sum(n for key, n in edge.items() if key[1] == status_code)


def test_gaps_between_tokens_are_counted_for_each_token_of_a_stream(server: RunningServer) -> None:
    labels = {"adapter": "gamma-en-de", "version": "1"}
    before = server.metric("dragoman_inter_token_seconds_count", **labels)
    stream = Client(server.url, model="gamma-en-de@1", max_tokens=20, stream=True)
    stream.wait()
    assert server.metric("dragoman_inter_token_seconds_count", **labels) - before == 19


def test_saturation_is_zero_at_rest_and_follows_the_requests(server: RunningServer) -> None:
    wait_until(lambda: server.metric("dragoman_saturation") == 0)
    clients = [Client(server.url, model=model, max_tokens=150) for model in WORDS for _ in range(2)]
    shown: list[dict[str, float]] = []

    def full() -> bool:
        names = ("saturation", "lora_slots", "lora_running", "lora_waiting")
        samples = server.samples(*(f"dragoman_{name}" for name in names))
        shown.append({each.name.removeprefix("dragoman_"): each.value for each in samples})
        # Two slots, three adapters: two run, one has to wait.
        return shown[-1]["lora_running"] == 2 and shown[-1]["lora_waiting"] > 0

    wait_until(full)
    assert shown[-1]["saturation"] > 1
    assert max(each["lora_running"] for each in shown) == 2 == shown[-1]["lora_slots"]
    for client in clients:
        client.wait()
    wait_until(lambda: server.metric("dragoman_saturation") == 0)


def test_the_workers_death_is_told_to_every_client_and_healed_without_hands(
    server: RunningServer,
) -> None:
    streams = [
        Client(server.url, model=model, max_tokens=1500, stream=True)
        for model in ("alpha-en-fr", "beta-en-fr")
        for _ in range(4)
    ]
    wait_until(lambda: all(stream.events for stream in streams))
    waiting = [Client(server.url, model=model, max_tokens=1500) for model in WORDS]
    time.sleep(0.3)
    (worker,) = [pid for pid, name in descendants(server.process.pid) if "Worker" in name]
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: status(f"{server.url}/ready") != httpx.codes.OK) < 2
    for client in [*streams, *waiting]:
        client.wait(10)
    assert {stream.ending() for stream in streams} == {"engine_dead"}
    assert {(c.status, c.body["error"]["code"]) for c in waiting} == {(503, "engine_dead")}

    wait_until(lambda: status(f"{server.url}/ready") == httpx.codes.OK, timeout_s=240)
    assert status(f"{server.url}/startup") == httpx.codes.OK
    assert {name: server.ask(name) for name in WORDS} == WORDS
