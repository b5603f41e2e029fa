"""What is wrong with a server is found: every fault is planted, and its opposite is quiet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.errors import LoadTestFailed
from loadtests.load import target
from loadtests.load.report import report
from loadtests.load.run import run
from loadtests.load.scenario import Scenario
from tests.loadtests.known_server import Known, known

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {
    "name": "short",
    "seconds": 2.0,
    "warm_s": 0.2,
    "arrivals": {"kind": "poisson", "per_s": 60.0},
    "popularity": {"exponent": 0.0},
    "texts": {"max_chars": 40},
    "checks": {"share": 0.3},
}


def reported(server: Known, **changes: Any) -> dict[str, Any]:
    scenario = Scenario.model_validate({**BODY, **changes})
    with known(server) as url:
        found = asyncio.run(run(scenario, target.running(url, (), {}, scenario)))
        return report(found, "a test")


def faults(server: Known, **changes: Any) -> list[str]:
    # Beside other tests the generator may be late, which is not what is looked at here.
    return [f for f in reported(server, **changes)["faults"] if not f.startswith("void")]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    found = reported(Known(first_s=0.02, each_s=0.001))
    assert [f for f in found["faults"] if not f.startswith("void")] == []
    assert found["requests"]["ok"] == found["requests"]["sent"] > 80
    assert found["checks"]["probes"] > 15
    assert found["checks"]["told_apart"] == 1


def test_an_adapter_with_anothers_weights_is_found() -> None:
    # All probes were asked before: 3 adapters, 2 texts, once alone and twice together.
    found = faults(Known(mixed_up="gamma", mixed_from=18))
    assert found
    assert all(fault.startswith("wrong answer: gamma") for fault in found)


def test_weights_that_were_mixed_up_from_the_start_cannot_be_told_apart() -> None:
    found = reported(Known(mixed_up="gamma"))
    assert found["checks"]["told_apart"] < 1
    assert any("cannot be told apart" in fault for fault in found["faults"])


def test_a_stream_that_breaks_off_is_lost() -> None:
    found = reported(Known(lose_every=20), checks={"share": 0.0})
    assert found["requests"]["lost"] > 2
    assert any(fault.startswith("lost: ") for fault in found["faults"])
    assert found["verdict"] != "passed"


def test_a_stream_that_ends_with_an_error_has_failed_and_is_not_lost() -> None:
    found = reported(Known(error_every=20), checks={"share": 0.0})
    assert found["requests"]["failed"] > 2
    assert found["requests"]["lost"] == 0


def test_what_is_shed_is_counted_apart() -> None:
    found = reported(Known(shed_every=10), checks={"share": 0.0})
    assert found["requests"]["shed"] > 5
    assert found["requests"]["lost"] == found["requests"]["failed"] == 0


def test_a_slow_adapter_is_named() -> None:
    found = reported(Known(first_s=0.03, slow="beta"))
    assert found["fairness"]["slow"] == ["beta"]
    assert found["fairness"]["jain"] < 0.95


def test_a_leak_is_found_and_its_absence_too() -> None:
    leaking = faults(Known(leak=True), watch="leaks")
    assert {fault.split()[1] for fault in leaking} >= {"rss_mb", "series"}
    assert faults(Known(), watch="leaks") == []


def test_requests_that_go_on_without_anybody_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.load.run._REST_S", 1.0)
    assert any("nobody waiting" in fault for fault in faults(Known(zombie=True)))


def test_every_request_has_one_end() -> None:
    found = reported(
        Known(lose_every=7, error_every=9, shed_every=11, first_s=0.01, each_s=0.002),
        checks={"share": 0.0},
        hangups={"share": 0.2, "after_tokens": 1},
    )["requests"]
    ends = [found[e] for e in ("ok", "shed", "refused", "failed", "unreached", "lost", "left")]
    assert sum(ends) == found["sent"]
    assert found["left"] > 5


def test_budgets_are_held_against_the_figures() -> None:
    budgets = {"latency_ms.ttft.all.p50": {"most": 5.0}, "requests.lost": {"most": 0}}
    found = faults(Known(first_s=0.05), budgets=budgets)
    assert len(found) == 1
    assert found[0].startswith("budget: latency_ms.ttft.all.p50 is")


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    scenario = Scenario.model_validate(BODY)
    with pytest.raises(LoadTestFailed, match="expected the address"):
        target.running("http://127.0.0.1:9", (), {}, scenario)
