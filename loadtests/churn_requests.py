"""The requests of the churn: asked, and each answer judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import httpx

from loadtests.churn_answers import CANDIDATES, Answer, drift
from loadtests.churn_ledger import Span
from loadtests.churn_registry import ChurnRegistry
from loadtests.prompts import random_prompt_ids

TOKENS: Final = 4
_SHORT: Final = 24
_LONG: Final = 300  # more than two blocks of the prefix cache: another version's must not be used
_PAUSE_S: Final = 0.3
_LAG_LIMIT_S: Final = 1.5
_EXACT_SHARE: Final = 0.25
_SAMPLES: Final = 10

# By digest of the version and number of the prompt.
References = Mapping[tuple[str, int], Answer]


class Refused(RuntimeError):
    """An answer that is no completion; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text[:200]}")
        self.status = status


def prompt(number: int) -> list[int]:
    """Return the token ids of one of the prompts: every third is long, the same for all."""
    return random_prompt_ids(number, _LONG if number % 3 == 2 else _SHORT)


async def ask(client: httpx.AsyncClient, model: str, ids: list[int]) -> tuple[Answer, str]:
    """Return the answer, and the digest of the version that gave it. Raises Refused."""
    body = {
        "model": model, "prompt": ids, "max_tokens": TOKENS, "temperature": 0,
        "ignore_eos": True, "logprobs": CANDIDATES, "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    answer = await client.post("/v1/completions", json=body)
    if answer.status_code != httpx.codes.OK:
        raise Refused(answer.status_code, answer.text)
    return Answer.parse(answer.json()), answer.headers["x-dragoman-digest"]


class ChurnRequests:
    """Asks while the registry changes, and counts what went wrong."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        registry: ChurnRegistry,
        references: References,
        tolerance: float,
    ) -> None:
        self._client = client
        self._registry = registry
        self._references = references
        self._tolerance = tolerance
        self._random = random.Random(0)
        self._stop = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self.samples: list[str] = []
        self._by_alias: list[tuple[str, str, Span]] = []
        self.worst_drift = 0.0
        self.worst_lag_s = 0.0

    async def run(self, requests: int, *, streams: int, prompts: int) -> dict[str, Any]:
        """Return the report of `requests` requests, `streams` at a time."""
        started = time.perf_counter()
        changes = asyncio.create_task(self._change())
        left = iter(range(requests))

        async def stream() -> None:
            for _ in left:
                await self._one(self._random.randrange(prompts))

        try:
            await asyncio.gather(*(stream() for _ in range(streams)))
        finally:
            self._stop.set()
        await changes
        return self._report(requests / (time.perf_counter() - started))

    async def _change(self) -> None:
        for step in self._registry.steps():
            if self._stop.is_set():
                return
            await asyncio.to_thread(step)  # to its end: a half-made change is in no ledger
            await asyncio.sleep(_PAUSE_S)

    async def _one(self, number: int) -> None:
        model, expected = self._choose()
        asked = time.perf_counter()
        try:
            answer, digest = await ask(self._client, model, prompt(number))
        except Refused as error:
            gone = error.status == httpx.codes.NOT_FOUND and expected is not None
            if gone and self._registry.ledger.may_be_gone(expected or "", self._until(asked)):
                self.counts["gone"] += 1
            else:
                self._note("failed", f"{model}: {error}")
        except httpx.HTTPError as error:
            self._note("failed", f"{model}: {error!r}")
        else:
            self._judge(model, expected, self._until(asked), digest)
            self._compare(model, answer, (digest, number))

    def _choose(self) -> tuple[str, str | None]:
        """Return a name to ask for, and the digest that must answer if the name is exact."""
        if self._random.random() < _EXACT_SHARE:
            return self._random.choice([*self._registry.exact.items()])
        return self._random.choice([*self._registry.ledger.switches]), None

    def _judge(self, model: str, expected: str | None, span: Span, digest: str) -> None:
        self.counts["answered"] += 1
        if expected is not None:
            if digest != expected:
                self._note("wrong", f"{model}: answered by {digest[:19]}, not {expected[:19]}")
            return
        # Judged at the end: an answer may be here before the ledger hears that a switch is over.
        self._by_alias.append((model, digest, span))

    def _judge_aliases(self) -> None:
        for model, digest, span in self._by_alias:
            lag = self._registry.ledger.lag_s(model, digest, span)
            if lag is None or lag > _LAG_LIMIT_S:
                self._note("wrong", f"{model}: answered by {digest[:19]}, left {lag} s before")
            else:
                self.worst_lag_s = max(self.worst_lag_s, lag)

    def _compare(self, model: str, answer: Answer, key: tuple[str, int]) -> None:
        reference = self._references.get(key)
        strayed = float("inf") if reference is None else drift(answer, reference)
        if reference is None or strayed > self._tolerance:
            expected = reference and reference.token_ids
            self._note(
                "wrong",
                f"{model}, prompt {key[1]}: {answer.token_ids} is not {expected}, by {strayed:.2f}",
            )
            return
        self.worst_drift = max(self.worst_drift, strayed)
        self.counts["other_token_in_a_tie"] += answer.token_ids != reference.token_ids

    def _until(self, asked: float) -> Span:
        return asked, time.perf_counter()

    def _note(self, kind: str, sample: str) -> None:
        self.counts[kind] += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(f"{kind}: {sample}")

    def _report(self, per_s: float) -> dict[str, Any]:
        self._judge_aliases()
        kinds = ("answered", "wrong", "failed", "gone", "other_token_in_a_tie")
        return {
            **{kind: self.counts[kind] for kind in kinds},
            "requests_per_s": round(per_s, 1),
            "worst_drift": round(self.worst_drift, 4),
            "alias_lag_ms": round(self.worst_lag_s * 1000, 1),
            "changes": dict(self._registry.done),
            "samples": self.samples,
        }
