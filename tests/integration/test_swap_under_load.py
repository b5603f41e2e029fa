"""Versions that are published, promoted, rolled back and removed while they are asked for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from adapters.errors import AdapterNotFound, AliasInvalid
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests.integration.harness import WORDS, RunningServer

pytestmark = pytest.mark.engine

SWAP = AdapterId.parse("swap-en-fr")
# From the moment that a promotion has returned.
TO_EFFECT_S = 0.1
ASKERS, SECONDS = 4, 12.0


@dataclass(frozen=True)
class Answer:
    began: float
    ended: float
    status: int
    version: int
    text: str


@dataclass
class Asked:
    """What was answered, and when which version was made stable (before, after, version)."""

    answers: list[Answer] = field(default_factory=list)
    flips: list[tuple[float, float, int]] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)


def _publish(registry: FileRegistry, word: str, remark: str) -> int:
    """Publish the weights that answer `word` as another version of one id."""
    source = registry.resolve(AdapterRef.parse({w: n for n, w in WORDS.items()}[word]))
    facts = {"id": SWAP, "domain": SWAP.domain, "limitations": remark, "golden": ()}
    draft = source.manifest.model_copy(update=facts)
    return registry.publish(draft, source.folder).manifest.version


def _ask(server: RunningServer, asked: Asked, until: float) -> None:
    body = {"model": str(SWAP), "messages": [{"role": "user", "content": "Undo"}]}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while time.monotonic() < until:
            began = time.monotonic()
            answer = client.post("/v1/chat/completions", json=body)
            ended = time.monotonic()
            version = int(answer.headers.get("x-dragoman-version", 0))
            ok = answer.status_code == httpx.codes.OK
            text = answer.json()["choices"][0]["message"]["content"] if ok else answer.text
            asked.answers.append(Answer(began, ended, answer.status_code, version, text))


def _swap(registry: FileRegistry, asked: Asked, until: float) -> None:
    """Publish, promote, roll back and remove, as fast as users never would."""
    number = 0
    while time.monotonic() < until:
        number += 1
        word = ("alpha", "beta")[number % 2]
        version = _publish(registry, word, f"{number}")
        asked.words[version] = word
        before = time.monotonic()
        registry.set_alias(SWAP, "stable", version)
        asked.flips.append((before, time.monotonic(), version))
        time.sleep(0.7)
        if number % 3 == 0:
            before = time.monotonic()
            back = registry.rollback(SWAP).manifest.version
            asked.flips.append((before, time.monotonic(), back))
            time.sleep(0.7)
        if version > 2:
            with suppress(AdapterNotFound, AliasInvalid):
                registry.remove(SWAP, version - 2)


@pytest.fixture(scope="module")
def asked(server: RunningServer) -> Asked:
    """What four clients were answered while one id changed a dozen times."""
    asked = Asked()
    first = _publish(server.registry, "alpha", "0")
    asked.words[first] = "alpha"
    asked.flips.append((time.monotonic(), time.monotonic(), first))
    server.ask(str(SWAP))
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(ASKERS + 1) as pool:
        futures = [pool.submit(_ask, server, asked, until + 1) for _ in range(ASKERS)]
        futures.append(pool.submit(_swap, server.registry, asked, until))
        for future in futures:
            future.result(timeout=SECONDS + 60)
    return asked


def test_no_request_fails_while_versions_come_and_go(asked: Asked, server: RunningServer) -> None:
    assert len(asked.answers) > 20
    assert len(asked.flips) > 8
    assert [a for a in asked.answers if a.status != httpx.codes.OK] == []
    assert server.process.poll() is None


def test_every_answer_is_the_one_of_the_version_that_it_names(asked: Asked) -> None:
    assert len({answer.version for answer in asked.answers}) > 3
    for answer in asked.answers:
        assert answer.text == asked.words[answer.version], answer


def test_whoever_asks_after_a_switch_gets_the_new_version(asked: Asked) -> None:
    compared = 0
    for answer in asked.answers:
        settled = [v for _, after, v in asked.flips if after + TO_EFFECT_S <= answer.began]
        later = [v for before, after, v in asked.flips if after + TO_EFFECT_S > answer.began
                 and before <= answer.ended]  # fmt: skip
        if settled:
            compared += 1
            assert answer.version in {settled[-1], *later}, (answer, asked.flips)
    assert compared > 20


def test_removed_versions_leave_the_engines_memory(asked: Asked, server: RunningServer) -> None:
    left = set(server.registry.numbers(SWAP))
    gone = {version for version in asked.words if version not in left}
    assert gone
    deadline = time.monotonic() + 10
    while resident := {v for v in gone if _is_resident(server, v)}:
        assert time.monotonic() < deadline, f"still in memory: {resident}"
        time.sleep(0.5)


def _is_resident(server: RunningServer, version: int) -> bool:
    labels = {"adapter": str(SWAP), "version": str(version)}
    return server.metric("dragoman_adapter_resident", **labels) > 0


def test_a_stream_whose_version_is_removed_ends_whole(server: RunningServer) -> None:
    version = _publish(server.registry, "beta", "to be removed")
    body = {
        "model": f"{SWAP}@{version}", "prompt": "Undo", "max_tokens": 150, "ignore_eos": True,
        "stream": True,
    }  # fmt: skip
    chunks: list[str] = []
    started = threading.Event()

    def stream() -> None:
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    chunks.append(line)
                    started.set()

    reading = threading.Thread(target=stream)
    reading.start()
    assert started.wait(30)
    server.registry.remove(SWAP, version)
    # Others take the slots meanwhile.
    with ThreadPoolExecutor(len(WORDS)) as pool:
        assert list(pool.map(server.ask, WORDS)) == list(WORDS.values())
    reading.join(timeout=60)
    assert chunks[-1] == "data: [DONE]"
    assert len(chunks) > 140
    with pytest.raises(AdapterNotFound):
        server.registry.resolve(AdapterRef(SWAP, str(version)))


def test_nothing_was_read_inside_a_step(server: RunningServer) -> None:
    assert server.metric("dragoman_adapter_loads_total", source="disk") > 0
    assert server.metric("dragoman_adapter_loads_total", source="step") == 0
