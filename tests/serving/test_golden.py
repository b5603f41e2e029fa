from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from adapters.errors import AdapterRejected, GoldenMismatch
from adapters.ids import AdapterRef, LanguagePair
from adapters.manifest import Golden
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from serving import golden as module
from serving.golden import GoldenCheck
from serving.metrics import Metrics
from serving.residency import Residency
from serving.resolver import lora_int_id
from tests import fakes
from tests.serving.conftest import Publish
from tests.serving.test_residency import FakeEngine

ANSWER = Golden(source="Open", token_ids=(7, 8, fakes.END), logprob=-2.0)


@dataclasses.dataclass
class Bench:
    """A check on an engine that answers `logprob`, and what it was asked."""

    check: GoldenCheck
    logprob: float | Exception
    asked: list[tuple[list[int], Any, int]]
    registry: CollectorRegistry

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("dragoman_golden_checks_total", {"outcome": outcome})


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tokenizer: BaseTokenizer) -> Bench:
    registry = CollectorRegistry()
    check = GoldenCheck(
        object(),
        tokenizer,
        Metrics(registry),
        vocab_size=fakes.VOCAB_SIZE,
        max_tokens=100,
        tolerance_nats=1.0,
    )
    made = Bench(check, -2.0, [], registry)

    async def score(_: Any, ids: Any, weights: Any, *, scored: int, name: str) -> float:
        made.asked.append((list(ids), weights, scored))
        if isinstance(made.logprob, Exception):
            raise made.logprob
        return made.logprob

    monkeypatch.setattr(module, "score_prompt", score)
    return made


def test_a_version_is_asked_by_its_own_prompt_in_its_first_pair(
    bench: Bench, publish: Publish, tokenizer: BaseTokenizer
) -> None:
    pairs = (LanguagePair("en", "fr"), LanguagePair("en", "de"))
    published = publish("ui-mul", pairs=pairs, golden=(ANSWER,))
    asyncio.run(bench.check(published, "weights"))  # type: ignore[arg-type]
    prompt = published.manifest.prompt.encode("Open", pairs[0], tokenizer)
    assert bench.asked == [([*prompt, 7, 8, fakes.END], "weights", 3)]
    assert bench.counted("passed") == 1


@pytest.mark.parametrize("off", [1.01, -1.01, float("nan"), float("-inf")])
def test_another_log_probability_is_refused_with_both_figures(
    bench: Bench, publish: Publish, off: float
) -> None:
    bench.logprob = -2.0 + off
    with pytest.raises(GoldenMismatch, match=r"ui-en-fr@1.*'Open'.*expected .*-2\.00 ± 1\.0") as e:
        asyncio.run(bench.check(publish(golden=(ANSWER,)), None))  # type: ignore[arg-type]
    assert f"found {bench.logprob:.2f}" in str(e.value)
    assert (e.value.code, e.value.http_status) == ("golden_mismatch", 409)
    assert bench.counted("mismatch") == 1


@pytest.mark.parametrize("off", [0.99, -0.99])
def test_rounding_is_no_mismatch(bench: Bench, publish: Publish, off: float) -> None:
    bench.logprob = -2.0 + off
    asyncio.run(bench.check(publish(golden=(ANSWER,)), None))  # type: ignore[arg-type]


def test_a_longer_answer_may_be_further_off_but_not_in_proportion(bench: Bench) -> None:
    def of(tokens: int) -> float:
        return bench.check.tolerance(Golden(source="s", token_ids=(1,) * tokens, logprob=-1.0))

    assert of(1) == of(8) == 1.0
    assert of(32) == 2.0


@pytest.mark.parametrize("answers", [
    (),
    (Golden(source="x" * 100, token_ids=(7,), logprob=-1.0),),
    (Golden(source="x" * 100_000, token_ids=(7,), logprob=-1.0),),
], ids=["none", "no room in the context", "longer than a check may be"])  # fmt: skip
def test_what_cannot_be_asked_is_not_checked_and_said_so(
    bench: Bench, publish: Publish, answers: tuple[Golden, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(module.logger, "info", lambda text, *a: notes.append(text % a))
    published = publish(golden=answers)
    asyncio.run(bench.check(published, None))  # type: ignore[arg-type]
    assert bench.asked == []
    assert bench.counted("none") == 1
    assert notes == [f"{published.name}: not checked by a golden answer"]


def test_a_tolerance_of_nothing_leaves_the_check_out(bench: Bench, publish: Publish) -> None:
    off = dataclasses.replace(bench.check, tolerance_nats=0.0)
    asyncio.run(off.warm_up())
    asyncio.run(off(publish(golden=(ANSWER,)), None))  # type: ignore[arg-type]
    assert bench.asked == []
    assert bench.counted("none") == 1


def test_an_id_that_the_base_does_not_have_never_reaches_the_engine(
    bench: Bench, publish: Publish
) -> None:
    beyond = Golden(source="Open", token_ids=(7, fakes.VOCAB_SIZE), logprob=-1.0)
    with pytest.raises(GoldenMismatch, match=f"exceed the base's {fakes.VOCAB_SIZE}"):
        asyncio.run(bench.check(publish(golden=(beyond,)), None))  # type: ignore[arg-type]
    assert bench.asked == []


def test_a_dead_engine_is_no_mismatch(bench: Bench, publish: Publish) -> None:
    bench.logprob = ConnectionError("dead")
    with pytest.raises(ConnectionError):
        asyncio.run(bench.check(publish(golden=(ANSWER,)), None))  # type: ignore[arg-type]
    assert bench.counted("mismatch") is None


def test_warming_up_scores_prompts_of_two_lengths_by_the_base(bench: Bench) -> None:
    asyncio.run(bench.check.warm_up())
    lengths = {len(ids) for ids, weights, _ in bench.asked if weights is None}
    assert len(lengths) == len(bench.asked) == 2
    assert bench.counted("passed") is None


def test_a_manifest_with_a_golden_answer_is_read_back(
    publish: Publish, registry: FileRegistry
) -> None:
    publish(golden=(ANSWER,))
    assert registry.resolve(AdapterRef.parse("ui-en-fr")).manifest.golden == (ANSWER,)


def test_a_version_is_held_only_once_it_has_passed(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.residency.lora_request", lambda name, **said: _Request(**said))
    published, engine, held = publish(), FakeEngine(), []

    async def check(version: Any, weights: Any) -> None:
        assert weights.lora_int_id == lora_int_id(version)
        assert weights.lora_int_id in engine.cached, "it must be asked of the loaded weights"
        held.append(follower.holds(version.name))

    follower = Residency(engine, Metrics(CollectorRegistry()), {}, check)
    asyncio.run(follower.load(published))
    assert held == [False]
    assert follower.holds(published.name)


def test_what_does_not_pass_leaves_the_engine_and_is_not_held(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.residency.lora_request", lambda name, **said: _Request(**said))
    published, engine = publish(), FakeEngine()
    versions: dict[str, tuple[str, str]] = {}

    async def check(version: Any, weights: Any) -> None:
        raise GoldenMismatch("other weights")

    follower = Residency(engine, Metrics(CollectorRegistry()), versions, check)

    async def scenario() -> None:
        with pytest.raises(AdapterRejected):
            await follower.load(published)
        assert not follower.holds(published.name)
        await follower.refresh()

    asyncio.run(scenario())
    assert not engine.cached
    assert not follower.holds(published.name)
    assert versions == {}


@dataclasses.dataclass
class _Request:
    lora_int_id: int
    folder: Any
