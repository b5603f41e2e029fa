from __future__ import annotations

from prometheus_client import CollectorRegistry

from serving.metrics import Metrics

# An interface: dashboards, rules and autoscalers name these.
LABELLED = {
    "dragoman_requests": {"outcome"},
    "dragoman_prompt_tokens": set(),
    "dragoman_completion_tokens": set(),
    "dragoman_queue_seconds": set(),
    "dragoman_time_to_first_token_seconds": set(),
    "dragoman_inter_token_seconds": set(),
    "dragoman_request_seconds": set(),
    "dragoman_adapter_loads": {"source"},
    "dragoman_adapter_load_seconds": {"source"},
    "dragoman_adapter_resident": {"tier"},
    "dragoman_adapter_evictions": {"tier"},
}


def test_names_and_labels_are_those_that_dashboards_rely_on() -> None:
    registry = CollectorRegistry()
    instruments = vars(Metrics(registry)).values()
    found = {i._name: set(i._labelnames) for i in instruments if hasattr(i, "_labelnames")}
    expected = {name: {"adapter", "version", *more} for name, more in LABELLED.items()}
    assert found == {**expected, "dragoman_saturation": set()}


def test_saturation_is_that_of_the_fullest_engine() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.note_saturation(0, 0.25)
    metrics.note_saturation(1, 0.75)
    assert registry.get_sample_value("dragoman_saturation") == 0.75
    metrics.note_saturation(1, 0.1)
    assert registry.get_sample_value("dragoman_saturation") == 0.25
