"""Each driver against a server whose behaviour is known."""

from __future__ import annotations

import pytest

from loadtests import arrivals, cold_loads, stall
from loadtests.arrivals import Mix, mix_figures, plan_arrivals, run_mix
from loadtests.bench_fairness import compare
from loadtests.closed_loop import LoopResult, Window, loop_result, run_loop
from loadtests.cold_loads import measure_cold_loads
from loadtests.recency import Recency, Tiers
from loadtests.token_stream import StreamBroken, TokenTimes
from tests.loadtests.tiny_server import TinyServer, serving

NAMES = [f"a{n}" for n in range(12)]


def test_stall_tells_loading_from_the_requests_that_cause_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stall, "_LOADS_PER_S", 20.0)
    monkeypatch.setattr(stall, "_SETTLE_S", 0.2)
    server = TinyServer(load_s=0.15)
    with serving(server) as url:
        recency = Recency(NAMES, Tiers(slots=2, memory=4))
        figures = stall.measure_stall(url, recency, stall.Plan(phase_s=0.1, cycles=1))
    assert figures["loading"]["p99"] > 140
    assert figures["control"]["p99"] < figures["loading"]["p99"]
    assert figures["p99_ratio"]["loading_over_idle"] > 1
    assert figures["load_ms"]["loading"]["n"] == 2


def test_cold_loads_are_told_from_warm_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_loads, "_REST_S", 0.0)
    with serving(TinyServer(load_s=0.05)) as url:
        recency = Recency(NAMES, Tiers(slots=1, memory=3))
        figures = measure_cold_loads(url, recency, count=2)
    assert figures["disk"]["p50"] >= 50
    assert figures["slot"]["p50"] < 50
    assert figures["memory"]["n"] == 2


def test_gap_belongs_to_the_phase_in_which_it_began() -> None:
    times = TokenTimes(0.0, [1.0, 1.5, 4.0, 4.5], [1, 1, 1, 1])
    assert times.gaps(1.2, 2.0) == [2.5]
    assert times.gaps(2.0, 5.0) == [0.5]


def test_closed_loop_asks_again_as_soon_as_it_is_answered() -> None:
    server = TinyServer()
    with serving(server) as url:
        result = run_loop(url, ["a", "b"], Window(warm_s=0.0, measure_s=0.2), tokens=4)
    assert {*server.asked} == {"a", "b"}
    assert len(server.asked) > 4
    assert result.tok_s > 50


def test_who_was_never_answered_counts_with_his_wait() -> None:
    answered = TokenTimes(10.0, [10.5, 11.0], [1, 2])
    starved = TokenTimes(10.0)
    before = TokenTimes(1.0, [2.0], [1])
    cut_short = TokenTimes(14.0, [14.1], [1])
    result = loop_result([answered, starved, before, cut_short], (9.0, 15.0), tokens_each=3)
    assert sorted(result.first_token_s) == pytest.approx([0.1, 0.5, 5.0])
    assert result.tok_s == pytest.approx(4 / 6)
    assert result.drain_s == (0.5,)


def test_first_tokens_are_held_against_three_times_or_two_seconds_and_a_drain() -> None:
    fits = LoopResult(100.0, (0.1,), (1.0,))
    slow = compare(fits, LoopResult(85.0, (4.1,), (2.0,)))
    assert slow["tok_s_ratio"] == 0.85
    assert slow["ttft_p99_limit_ms"] == 4000
    assert not slow["ttft_p99_within_limit"]
    assert compare(fits, LoopResult(85.0, (3.9,), (2.0,)))["ttft_p99_within_limit"]


def test_mix_plans_a_hundred_to_one_between_the_groups() -> None:
    planned = plan_arrivals(Mix(heavy=("h1", "h2"), light=("l",)), per_s=101, seconds=10)
    asked = [arrival.model for arrival in planned]
    assert (asked.count("h1"), asked.count("h2"), asked.count("l")) == (500, 500, 10)
    assert planned == sorted(planned, key=lambda a: a.at_s)


def test_mix_is_sent_as_planned_and_what_arrives_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "_SETTLE_S", 0.0)
    server = TinyServer()
    with serving(server) as url:
        mix = Mix(heavy=("h",), light=("l",), ratio=10)
        figures = run_mix(url, mix, per_s=50, seconds=0.4, tokens=1)
    assert server.asked.count("l") == 2
    assert figures["offered_tokens"] >= len(server.asked)
    assert 0 < figures["heavy"]["served_tokens"] <= server.asked.count("h")


def test_mix_served_in_order_of_arrival_is_unfair_to_the_rare() -> None:
    # Of 30 and 3 requests, 10 and 1 were served: in proportion to what was asked for.
    served = TokenTimes(0.0, [0.5], [1])
    waiting = TokenTimes(0.0)
    times = [("h", served)] * 10 + [("h", waiting)] * 20 + [("l", served)] + [("l", waiting)] * 2
    figures = mix_figures(Mix(("h",), ("l",)), times, (0.0, 2.0), tokens=1)
    assert figures["light"] == {"served_tokens": 1, "entitled_tokens": 3}
    assert figures["jain"] < 0.85
    assert figures["ttft_p99_ms"] == {"heavy": 2000.0, "light": 2000.0}


def test_error_inside_a_stream_ends_the_measurement() -> None:
    with serving(TinyServer(broken=True)) as url, pytest.raises(StreamBroken, match="has died"):
        run_loop(url, ["a"], Window(warm_s=0.0, measure_s=1.0), tokens=2)
