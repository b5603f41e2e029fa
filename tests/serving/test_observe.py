from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from adapters.errors import Draining, EngineDead
from serving import deferral
from serving.metrics import Metrics
from serving.observe import ObservedEngine

LABELS = {"adapter": "ui-en-fr", "version": "3"}
LORA = SimpleNamespace(lora_name="ui-en-fr@0123456789ab")


def output(
    *choices: tuple[int, str | None], finished: bool = False, prompt: int = 0, stats: Any = None
) -> SimpleNamespace:
    """Return one output: (tokens, finish reason) of each choice."""
    return SimpleNamespace(
        prompt_token_ids=list(range(prompt)),
        outputs=[
            SimpleNamespace(token_ids=[7] * n, finish_reason=why, index=index)
            for index, (n, why) in enumerate(choices)
        ],
        finished=finished,
        metrics=stats,
    )


class FakeEngine:
    errored = False

    def __init__(self, *outputs: SimpleNamespace | Exception) -> None:
        self.outputs = outputs
        self.closed = False

    async def generate(self, *_: Any, **__: Any) -> AsyncGenerator[Any, None]:
        try:
            for each in self.outputs:
                if isinstance(each, Exception):
                    raise each
                await asyncio.sleep(0)
                yield each
        finally:
            self.closed = True


class Rig:
    def __init__(self, *outputs: SimpleNamespace | Exception) -> None:
        self.registry = CollectorRegistry()
        self.engine = FakeEngine(*outputs)
        versions = {LORA.lora_name: ("ui-en-fr", "3")}
        self.draining = False
        self.observed = ObservedEngine(
            self.engine, Metrics(self.registry), versions, lambda: self.draining
        )

    def stream(self, lora: Any = LORA) -> AsyncGenerator[Any, None]:
        return self.observed.generate("prompt", "params", "id", lora_request=lora)

    def drain(self, lora: Any = LORA) -> None:
        async def consume() -> None:
            async for _ in self.stream(lora):
                pass

        asyncio.run(consume())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {**LABELS, **labels})

    def outcomes(self) -> dict[str, float]:
        return {
            sample.labels["outcome"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "dragoman_requests_total"
        }


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("stop", "ok"),
        ("length", "length"),
        ("error", "error"),
        ("new", "error"),
    ],
)
def test_a_finished_request_is_counted_once_by_how_it_ended(reason: str, outcome: str) -> None:
    rig = Rig(output((2, None), prompt=5), output((3, reason), finished=True))
    rig.drain()
    assert rig.outcomes() == {outcome: 1.0}
    assert rig.value("dragoman_prompt_tokens_total") == 5
    assert rig.value("dragoman_completion_tokens_total") == 5


def test_several_choices_are_one_request_that_ended_as_its_worst_choice() -> None:
    rig = Rig(
        output((1, None), (1, "length"), prompt=4),
        output((2, "stop"), finished=True),
    )
    rig.drain()
    assert rig.outcomes() == {"length": 1.0}
    assert rig.value("dragoman_prompt_tokens_total") == 4
    assert rig.value("dragoman_completion_tokens_total") == 4


def test_a_client_that_hangs_up_is_an_aborted_request_and_frees_the_engine_at_once() -> None:
    # The first of two choices has ended: the request has not.
    rig = Rig(output((1, "stop"), prompt=4), output((1, None)), output((1, "stop"), finished=True))

    async def leave() -> None:
        stream = rig.stream()
        await anext(stream)
        await stream.aclose()
        assert rig.engine.closed

    asyncio.run(leave())
    assert rig.outcomes() == {"aborted": 1.0}
    assert rig.value("dragoman_completion_tokens_total") == 1


def test_a_request_counts_as_it_comes_before_it_ends() -> None:
    rig = Rig(output((1, None)), output((1, "stop"), finished=True))

    async def look() -> None:
        stream = rig.stream()
        await anext(stream)
        assert rig.value("dragoman_arrivals_total") == 1
        assert rig.outcomes() == {}
        await stream.aclose()

    asyncio.run(look())
    assert rig.value("dragoman_arrivals_total") == 1


def test_a_cancelled_request_is_aborted() -> None:
    rig = Rig(*[output((1, None))] * 1000)

    async def cancel() -> None:
        async def consume() -> None:
            async for _ in rig.stream():
                pass

        task = asyncio.create_task(consume())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert rig.outcomes() == {"aborted": 1.0}


def test_a_client_that_leaves_after_the_last_output_was_served() -> None:
    rig = Rig(output((1, "stop"), finished=True))

    async def leave() -> None:
        stream = rig.stream()
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    assert rig.outcomes() == {"ok": 1.0}


def test_an_engine_that_fails_is_an_error_and_passes_it_on() -> None:
    rig = Rig(output((1, None)), RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        rig.drain()
    assert rig.outcomes() == {"error": 1.0}


def test_a_request_to_the_base_is_labelled_as_such() -> None:
    rig = Rig(output((1, "stop"), finished=True))
    rig.drain(lora=None)
    labels = {"adapter": "base", "version": "", "outcome": "ok"}
    assert rig.registry.get_sample_value("dragoman_requests_total", labels) == 1


def stats(**changes: float) -> SimpleNamespace:
    facts = {
        "queued_ts": 10.0, "scheduled_ts": 10.5, "first_token_ts": 11.0, "last_token_ts": 11.0,
        "first_token_latency": 1.1,
    }  # fmt: skip
    return SimpleNamespace(**{**facts, **changes})


def test_times_come_from_the_engines_own_clock() -> None:
    rig = Rig(output((5, "stop"), finished=True, stats=stats()))
    rig.drain()
    assert rig.value("dragoman_queue_seconds_sum") == 0.5
    assert rig.value("dragoman_time_to_first_token_seconds_sum") == 1.1
    assert rig.value("dragoman_request_seconds_count") == 1


def test_the_wait_for_a_slot_is_counted_and_not_shown_to_clients() -> None:
    last = output((1, "stop"), finished=True)
    last.kv_transfer_params = deferral.attach(None, 1.5)
    rig = Rig(output((1, None)), last)
    rig.drain()
    assert rig.value("dragoman_deferred_seconds_sum") == 1.5
    assert rig.value("dragoman_deferred_seconds_count") == 1
    assert last.kv_transfer_params is None


def test_each_gap_between_tokens_of_a_stream_is_measured() -> None:
    times = [11.0, 11.02, 13.02]
    outputs = [output((1, None), stats=stats(last_token_ts=at)) for at in times]
    rig = Rig(*outputs, output((0, "stop"), finished=True))
    rig.drain()
    assert rig.value("dragoman_inter_token_seconds_count") == 2
    assert rig.value("dragoman_inter_token_seconds_sum") == pytest.approx(2.02)
    assert rig.value("dragoman_inter_token_seconds_bucket", le="0.025") == 1
    assert rig.value("dragoman_inter_token_seconds_bucket", le="1.0") == 1


def test_tokens_that_came_together_share_their_time() -> None:
    rig = Rig(
        output((1, None), stats=stats()),
        output((4, "stop"), finished=True, stats=stats(last_token_ts=13.0)),
    )
    rig.drain()
    assert rig.value("dragoman_inter_token_seconds_count") == 4
    assert rig.value("dragoman_inter_token_seconds_sum") == 2.0
    assert rig.value("dragoman_inter_token_seconds_bucket", le="0.5") == 4


@pytest.mark.parametrize("choices", [
    [output((5, "stop"), finished=True, stats=stats())],
    [
        output((1, None), (1, None), stats=stats()),
        output((1, "stop"), finished=True, stats=stats(last_token_ts=12.0)),
    ],
])  # fmt: skip
def test_an_answer_that_comes_whole_or_in_several_choices_has_no_gaps(
    choices: list[SimpleNamespace],
) -> None:
    rig = Rig(*choices)
    rig.drain()
    assert rig.value("dragoman_inter_token_seconds_count") is None


def test_what_the_engine_gave_up_is_an_error_and_never_a_short_answer() -> None:
    rig = Rig(output((2, None)), output((0, "abort"), finished=True))
    with pytest.raises(Draining):
        rig.drain()
    assert rig.outcomes() == {"aborted": 1.0}


@pytest.mark.parametrize(("draining", "error"), [(False, EngineDead), (True, Draining)])
def test_a_dead_engine_is_told_in_our_words(draining: bool, error: type[Exception]) -> None:
    rig = Rig(output((1, None)), RuntimeError("boom"))
    rig.engine.errored = True
    rig.draining = draining
    with pytest.raises(error):
        rig.drain()
    assert rig.outcomes() == {"error": 1.0}
    assert isinstance(rig.observed.dead_error, EngineDead)


def test_all_else_is_the_engines() -> None:
    assert Rig().observed.errored is False
