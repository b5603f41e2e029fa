"""The churn's judge before servers that are right, that mix adapters up, and that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.errors import DragomanError
from adapters.ids import AdapterRef
from adapters.registry import FileRegistry
from loadtests import churn_requests
from loadtests.churn_answers import Answer
from loadtests.churn_registry import ChurnRegistry, Crowd
from loadtests.churn_requests import ChurnRequests
from tests import fakes

PROMPTS = 2
Spoil = Callable[[int, str], str]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChurnRegistry:
    def publish(store: FileRegistry, base: str, name: str, *, seed: int, scale: float) -> object:
        return fakes.publish(store, seed=seed, adapter_id=name)

    monkeypatch.setattr("loadtests.churn_registry.publish_random", publish)
    monkeypatch.setattr(churn_requests, "_PAUSE_S", 0.002)
    return ChurnRegistry(FileRegistry(tmp_path / "registry"), "tiny", Crowd(still=2, moving=1))


def answer_of(digest: str, number: int) -> Answer:
    first = int(digest[7:11], 16) + number
    return Answer((first, 1), ({str(first): -1.0, "x": -5.0}, {"1": -1.0, "x": -5.0}))


def run(registry: ChurnRegistry, spoil: Spoil, requests: int = 40) -> dict[str, Any]:
    digests = [*registry.publish_all()]
    references = {(d, n): answer_of(d, n) for d in digests for n in range(PROMPTS)}
    registry.begin()
    asked = 0

    async def serve(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        turn = asked
        await asyncio.sleep(0.001)
        body = json.loads(request.content)
        try:
            found = registry._store.resolve(AdapterRef.parse(body["model"])).manifest.digest
        except DragomanError:
            return httpx.Response(404, text="adapter_not_found")
        prompts = [churn_requests.prompt(n) for n in range(PROMPTS)]
        answer = answer_of(spoil(turn, found), prompts.index(body["prompt"]))
        choice = {
            "token_ids": answer.token_ids,
            "logprobs": {"top_logprobs": answer.candidates},
        }
        return httpx.Response(200, json={"choices": [choice]}, headers={"x-dragoman-digest": found})

    async def churn() -> dict[str, Any]:
        transport = httpx.MockTransport(serve)
        async with httpx.AsyncClient(base_url="http://tiny", transport=transport) as client:
            judge = ChurnRequests(client, registry, references, 0.1)
            return await judge.run(requests, streams=4, prompts=PROMPTS)

    return asyncio.run(churn())


def test_server_that_is_right_is_not_accused(registry: ChurnRegistry) -> None:
    report = run(registry, lambda _, digest: digest)
    assert report["wrong"] == report["failed"] == 0, report["samples"]
    assert report["answered"] + report["gone"] == 40


def test_one_swapped_answer_in_ten_is_seen(registry: ChurnRegistry) -> None:
    swapped = 0

    def swap(turn: int, digest: str) -> str:
        nonlocal swapped
        swapped += turn % 10 == 0
        return digest if turn % 10 else "sha256:" + "f" * 64

    report = run(registry, swap)
    assert report["wrong"] == swapped > 0, "\n".join(report["samples"])
    assert "is not" in report["samples"][0]


def test_answer_of_a_version_that_the_name_never_had_is_wrong(registry: ChurnRegistry) -> None:
    registry.publish_all()
    registry.begin()
    judge = ChurnRequests(httpx.AsyncClient(), registry, {}, 0.1)
    judge._judge("churn000-en-fr", None, (1e12, 1e12), "sha256:other")
    judge._judge_aliases()
    assert judge.counts["wrong"] == 1
