"""The generator reports the latencies that a server has: within 2 %, and also when it stalls."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from loadtests.distribution import percentile
from loadtests.load import generator
from loadtests.load.client import Asking
from loadtests.load.figures import LAG_LIMIT_MS, figures
from loadtests.load.plan import Planned
from loadtests.load.scenario import Scenario
from loadtests.load.served import Ending, Served
from tests.loadtests.known_server import Known, known

# They time: nothing else may run.
pytestmark = pytest.mark.engine

WITHIN = 0.02


def planned(count: int, per_s: float, tokens: int) -> list[Planned]:
    return [
        Planned(i, i / per_s, "alpha", "segment", f"{i} words", tokens, "warm", counted=True)
        for i in range(count)
    ]


@dataclass
class Start:
    """When the load began, on the clock that all processes of a machine share."""

    at_s: float = 0.0

    async def note(self, now: Callable[[], float]) -> None:
        self.at_s = time.perf_counter() - now()


def load(url: str, plan: list[Planned]) -> tuple[list[Served], float]:
    start = Start()
    served = asyncio.run(generator.run(url, plan, Asking(), settle_s=30, beside=(start.note,)))
    return served, start.at_s


def waits(url: str, served: list[Served], start_s: float) -> list[float]:
    """Return what each really waited, by the server's own clock."""
    answered = httpx.get(f"{url}/answered").json()
    return [answered[one.planned.text] - start_s - one.planned.at_s for one in served]


def test_latencies_are_the_servers_within_two_percent() -> None:
    with known(Known(first_s=0.4, each_s=0.05)) as url:
        served, start_s = load(url, planned(200, per_s=50, tokens=9))
        expected = waits(url, served, start_s)
    assert {one.ending for one in served} == {Ending.OK}
    for percent in (50, 90, 99):
        measured = percentile([one.ttft_s for one in served], percent)
        assert measured == pytest.approx(percentile(expected, percent), rel=WITHIN)
    assert percentile([s.ttft_s for s in served], 50) == pytest.approx(0.4, rel=WITHIN)
    assert percentile([s.tpot_s for s in served], 50) == pytest.approx(0.05, rel=WITHIN)
    assert percentile([s.total_s for s in served], 50) == pytest.approx(0.8, rel=WITHIN)


def test_a_stall_is_seen_by_everyone_who_meant_to_ask_meanwhile() -> None:
    """A loop that waits for answers would ask nothing in that second, and find nothing wrong."""
    with known(Known(first_s=0.4, stall_at_s=2.0)) as url:
        served, start_s = load(url, planned(300, per_s=60, tokens=1))
        expected = waits(url, served, start_s)
    for percent in (50, 75, 90, 95, 99):
        measured = percentile([one.ttft_s for one in served], percent)
        assert measured == pytest.approx(percentile(expected, percent), rel=WITHIN)
    assert sum(wait > 0.5 for wait in expected) > 60, "there was no stall to be seen"
    assert max(expected) > 1.3


def test_a_thousand_streams_are_open_on_one_core() -> None:
    cores = os.sched_getaffinity(0)
    with known(Known(first_s=4.0, each_s=0.5)) as url:
        os.sched_setaffinity(0, {min(cores)})
        try:
            served, _ = load(url, planned(1000, per_s=250, tokens=4))
        finally:
            os.sched_setaffinity(0, cores)
    assert {one.ending for one in served} == {Ending.OK}
    last_sent, first_ended = max(s.sent_s for s in served), min(s.ended_s for s in served)
    assert last_sent < first_ended, "they were not all open at once"
    scenario = Scenario.model_validate(
        {"name": "many", "seconds": 4.0, "arrivals": {"kind": "even", "per_s": 250.0}}
    )
    assert figures(served, scenario)["lag_ms"]["p99"] <= LAG_LIMIT_MS
