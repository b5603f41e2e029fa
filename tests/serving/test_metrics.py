from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.metrics import Metrics
from serving.series import OTHER, Instrument, Roster
from serving.stats import saturation

# An interface: dashboards, rules and autoscalers name these.
LABELLED = {
    "dragoman_http_requests": {"route", "status"},
    "dragoman_arrivals": set(),
    "dragoman_requests": {"outcome"},
    "dragoman_prompt_tokens": set(),
    "dragoman_completion_tokens": set(),
    "dragoman_queue_seconds": set(),
    "dragoman_deferred_seconds": set(),
    "dragoman_time_to_first_token_seconds": set(),
    "dragoman_inter_token_seconds": set(),
    "dragoman_request_seconds": set(),
    "dragoman_adapter_loads": {"source"},
    "dragoman_adapter_load_seconds": {"source"},
    "dragoman_adapter_resident": {"tier"},
    "dragoman_adapter_evictions": {"tier"},
}
PLAIN = {
    "dragoman_saturation",
    "dragoman_backlog_seconds",
    "dragoman_utilization",
    "dragoman_lora_slots",
    "dragoman_lora_running",
    "dragoman_lora_waiting",
    "dragoman_golden_check_seconds",
}


def test_names_and_labels_are_those_that_dashboards_rely_on() -> None:
    found = {}
    for each in vars(Metrics(CollectorRegistry())).values():
        instrument: Any = each.parent if isinstance(each, Instrument) else each
        if hasattr(instrument, "_labelnames"):
            found[instrument._name] = set(instrument._labelnames)
    expected = {name: {"adapter", "version", *more} for name, more in LABELLED.items()}
    expected["dragoman_golden_checks"] = {"outcome"}
    expected["dragoman_shed"] = {"reason"}
    assert found == {**expected, **{name: set() for name in PLAIN}}


def test_a_gauge_of_several_engines_shows_the_highest() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.note_engine(0, {metrics.saturation: 0.25})
    metrics.note_engine(1, {metrics.saturation: 0.75})
    assert registry.get_sample_value("dragoman_saturation") == 0.75
    metrics.note_engine(1, {metrics.saturation: 0.1})
    assert registry.get_sample_value("dragoman_saturation") == 0.25


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self, most: int = 2) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, Roster(most=most, keep_s=10.0, clock=self.clock))

    def serve(self, *versions: str) -> None:
        for version in versions:
            self.metrics.requests.labels("a", version, "ok").inc()
            self.metrics.prompt_tokens.labels("a", version).inc(2)

    def served(self) -> dict[str, float]:
        return {
            sample.labels["adapter"] + sample.labels["version"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "dragoman_requests_total"
        }


def test_versions_beyond_the_limit_share_one_series_and_the_total_stays_exact() -> None:
    rig = Rig()
    rig.serve("1", "2", "3", "4", "1")
    assert rig.served() == {"a1": 2, "a2": 1, OTHER[0]: 2}


def test_a_version_that_left_keeps_its_series_for_a_while_and_then_makes_room() -> None:
    rig = Rig()
    rig.serve("1", "2")
    rig.metrics.forget(("a", "1"))
    rig.serve("3")
    assert rig.served() == {"a1": 1, "a2": 1, OTHER[0]: 1}
    rig.clock.now = 11
    rig.serve("4")
    assert rig.served() == {"a2": 1, "a4": 1, OTHER[0]: 1}
    assert (
        rig.registry.get_sample_value(
            "dragoman_prompt_tokens_total", {"adapter": "a", "version": "1"}
        )
        is None
    )


def test_a_version_that_comes_back_in_time_goes_on_counting() -> None:
    rig = Rig()
    rig.serve("1")
    rig.metrics.forget(("a", "1"))
    rig.serve("1")
    rig.clock.now = 11
    rig.serve("2")
    assert rig.served() == {"a1": 2, "a2": 1}


def test_a_version_that_was_never_counted_can_be_forgotten() -> None:
    rig = Rig()
    rig.metrics.forget(("a", "1"))
    rig.clock.now = 11
    rig.serve("1")
    assert rig.served() == {"a1": 1}


def test_series_that_several_processes_share_stay_and_the_limit_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    rig = Rig()
    rig.serve("1")
    rig.metrics.forget(("a", "1"))
    rig.clock.now = 11
    rig.serve("2", "3")
    assert rig.served() == {"a1": 1, "a2": 1, OTHER[0]: 1}


def engine(
    running: int = 0, waiting: int = 0, skipped: int = 0, cache: float = 0.0
) -> SimpleNamespace:
    return SimpleNamespace(
        num_running_reqs=running,
        num_waiting_reqs=waiting,
        num_skipped_waiting_reqs=skipped,
        kv_cache_usage=cache,
    )


@pytest.mark.parametrize(("stats", "expected"), [
    (engine(), 0.0),
    (engine(running=4), 0.5),
    (engine(running=8), 1.0),
    (engine(running=8, waiting=4), 1.5),
    # The cache holds two requests, and two wait.
    (engine(running=2, waiting=2, cache=1.0), 2.0),
    (engine(running=1, cache=0.75), 0.75),
    (engine(waiting=4), 0.5),
    # The slots hold the adapters of two requests, and one more request waits for a slot.
    (engine(running=2, skipped=1), 1.5),
    (engine(running=2, waiting=5, skipped=2), 2.0),
])  # fmt: skip
def test_saturation_is_demand_over_what_is_scarcest(stats: Any, expected: float) -> None:
    assert saturation(stats, seats=8) == expected
