"""Adapters come, go and change under load, and every answer is that of the version it names."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx
import pytest

from adapters.ids import AdapterId, AdapterRef
from tests.integration.harness import WORDS, RunningServer
from tests.integration.wounds import Fault, publish_as

pytestmark = pytest.mark.engine

TEXTS = ("Open the file.", "Undo", "Delete the selected cells", "Where am I?")
# With the others more than the engine keeps in memory (32), and far more than its two slots.
COPIES = 36
REQUESTS = 300
AT_ONCE = 16


@dataclass(frozen=True)
class Answer:
    """One answer, with the log-probability of its tokens and the version that the server names."""

    text: str
    logprob: float
    version: int


class Asker:
    """Asks one server, so many questions at once."""

    def __init__(self, server: RunningServer, *, at_once: int) -> None:
        self._client = httpx.AsyncClient(base_url=server.url, timeout=120)
        self._turn = asyncio.Semaphore(at_once)

    async def ask(self, model: str, text: str) -> Answer:
        """Return the answer; any error fails the test."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "logprobs": True}
        async with self._turn:
            response = await self._client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, (model, response.text)
        choice = response.json()["choices"][0]
        logprob = sum(token["logprob"] for token in choice["logprobs"]["content"])
        version = int(response.headers["x-dragoman-version"])
        return Answer(choice["message"]["content"], logprob, version)

    async def ask_all(self, questions: Sequence[tuple[str, str]]) -> list[Answer]:
        """Return the answers in the order of the questions, which are (model, text)."""
        return list(await asyncio.gather(*(self.ask(*question) for question in questions)))


Isolated = Mapping[tuple[str, str], Answer]


@dataclass(frozen=True)
class Roles:
    """Which sound adapter's weights each model and version has, by what was published."""

    weights: Mapping[tuple[str, int], str]

    def differing(
        self,
        asked: Sequence[tuple[str, str]],
        answers: Sequence[Answer],
        isolated: Isolated,
        *,
        tolerance: float,
    ) -> set[str]:
        """Return the models with an answer that is not the isolated one of their weights."""
        wrong = set()
        for (model, text), answer in zip(asked, answers, strict=True):
            expected = isolated[self.weights[model, answer.version], text]
            off = abs(answer.logprob - expected.logprob)
            if answer.text != expected.text or not off <= tolerance:
                wrong.add(model)
        return wrong


@pytest.fixture
def roles(server: RunningServer) -> Iterator[Roles]:
    """Copies of the three sound adapters, one with two versions, and one that is another."""
    root, sound = server.registry.root, [*WORDS]
    folders = {n: server.registry.resolve(AdapterRef.parse(f"{n}@1")).folder for n in sound}
    weights: dict[tuple[str, int], str] = {}
    for number, origin in zip(range(COPIES), itertools.cycle(sound), strict=False):
        name = f"c{number}-{origin.partition('-')[2]}"
        publish_as(folders[origin], root, name)
        weights[name, 1] = origin
    for number, origin in enumerate(sound[:2], start=1):
        version = Fault("", 200, "", "", changes={"version": number})
        publish_as(folders[origin], root, "flip-en-fr", version, keep=True)
        weights["flip-en-fr", number] = origin
    planted = Fault("", 200, "", "", changes={"golden": []})
    publish_as(folders[sound[2]], root, "plant-en-de", planted)
    weights["plant-en-de", 1] = sound[0]
    yield Roles(weights)
    for name in {name for name, _ in weights}:
        shutil.rmtree(root / name)


async def flip(server: RunningServer, stop: asyncio.Event) -> int:
    """Promote and roll back until told to stop; return how often."""
    for times in itertools.count():
        if stop.is_set():
            return times
        await asyncio.to_thread(
            server.registry.set_alias, AdapterId.parse("flip-en-fr"), "stable", 1 + times % 2
        )
        await asyncio.sleep(0.5)
    raise AssertionError


def test_no_answer_changes_under_churn_and_a_planted_swap_is_found(
    server: RunningServer, roles: Roles
) -> None:
    seeded = random.Random(3)
    questions = [(model, text) for model in WORDS for text in TEXTS]

    async def scenario() -> tuple[set[str], float, int, set[int]]:
        alone = Asker(server, at_once=1)
        isolated = dict(zip(questions, await alone.ask_all(questions), strict=True))
        # What batching alone changes: the same questions, mixed, with nothing loaded meanwhile.
        busy = Asker(server, at_once=AT_ONCE)
        mixed = seeded.sample(questions * 2, len(questions) * 2)
        noise = max(
            abs(answer.logprob - isolated[question].logprob)
            for question, answer in zip(mixed, await busy.ask_all(mixed), strict=True)
        )
        models = sorted({model for model, _ in roles.weights})
        asked = [(seeded.choice(models), seeded.choice(TEXTS)) for _ in range(REQUESTS)]
        asked += [(model, TEXTS[0]) for model in ("plant-en-de", "flip-en-fr") for _ in range(4)]
        seeded.shuffle(asked)
        stop = asyncio.Event()
        flips = asyncio.create_task(flip(server, stop))
        answers = await busy.ask_all(asked)
        stop.set()
        wrong = roles.differing(asked, answers, isolated, tolerance=max(0.1, 2 * noise))
        seen = {a.version for (m, _), a in zip(asked, answers, strict=True) if m == "flip-en-fr"}
        return wrong, noise, await flips, seen

    evicted = server.metric("dragoman_adapter_evictions_total")
    wrong, noise, flips, seen = asyncio.run(scenario())
    print(f"batching alone moves a log-probability by {noise:.3f}; {flips} promotions")
    assert wrong == {"plant-en-de"}, "only the planted swap may differ, and it must be found"
    assert seen == {1, 2}
    assert server.metric("dragoman_adapter_evictions_total") > evicted + 30, "there was no churn"
