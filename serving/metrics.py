"""Per-adapter metrics, beside vLLM's own on /metrics.

With several API processes each counts what it answers, and /metrics of any adds them up; of what
they all see of one engine, the gauges, it shows what was seen last.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from serving.lora_info import LoraInfo
from serving.series import LABEL_NAMES, Instrument, Labels, Roster

# Requests that no adapter answered: refused, or malformed.
NO_LABELS: Final[Labels] = ("", "")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The instruments; names and labels are an interface that dashboards and rules rely on."""

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, roster: Roster | None = None
    ) -> None:
        self._registry = registry
        self._roster = roster or Roster()
        self.http_requests = self._counter(
            "http_requests", "Requests that the edge answered, by status.", "route", "status"
        )
        self.arrivals = self._counter("arrivals", "Prompts given to the engine, as they come.")
        self.requests = self._counter(
            "requests", "Prompts given to the engine, by how they ended.", "outcome"
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens.")
        self.completion_tokens = self._counter("completion_tokens", "Generated tokens.")
        self.queue = self._seconds("queue", "Time in the engine's queue.")
        self.deferred = self._seconds(
            "deferred", "Part of that time for which all adapter slots were taken by others."
        )
        self.first_token = self._seconds("time_to_first_token", "Time to first token.")
        self.inter_token = self._seconds(
            "inter_token", "Time between two tokens of a stream, by the engine's clock."
        )
        self.request = self._seconds("request", "Time from arrival to the last token.")
        self.loads = self._counter("adapter_loads", "Loads into the engine.", "source")
        self.load_seconds = self._seconds(
            "adapter_load", "Time of a load into the engine.", "source"
        )
        self.resident = Instrument(
            Gauge(
                "dragoman_adapter_resident",
                "1 where the adapter lies in that tier.",
                (*LABEL_NAMES, "tier"),
                registry=registry,
                multiprocess_mode="livemostrecent",
            ),
            self._roster,
        )
        self.evictions = self._counter(
            "adapter_evictions", "Times that the adapter left a tier.", "tier"
        )
        self.golden = Counter(
            "dragoman_golden_checks",
            "Checks of a golden answer after a load: passed, mismatch, or none to check by.",
            ("outcome",),
            registry=registry,
        )
        self.golden_seconds = Histogram(
            "dragoman_golden_check_seconds",
            "Time of a check of a golden answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.slots = self._gauge("lora_slots", "Adapters that fit into one batch.")
        self.running_adapters = self._gauge("lora_running", "Adapters in the running batch.")
        self.waiting_for_slots = self._gauge(
            "lora_waiting", "Requests that wait for a slot of their adapter."
        )
        self.shed = Counter(
            "dragoman_shed",
            "Requests that the door refused, by why: the error's code.",
            ("reason",),
            registry=registry,
        )
        # Shown from the start: a rate does not see the step from nothing to 1.
        self.shed.labels("overloaded")
        self.backlog = self._gauge(
            "backlog_seconds", "How long the work that was let in will take, as forecast."
        )
        self.saturation = self._gauge(
            "saturation", "Demand over capacity: 0 idle, 1 full, above 1 with a queue."
        )
        self.utilization = self._gauge(
            "utilization", "Throughput as a share of a full batch's; 1 while a request waits."
        )
        self.lora_info = LoraInfo()
        registry.register(self.lora_info)
        self._engines: dict[int, dict[Gauge, float]] = {}

    def note_engine(self, engine: int, values: dict[Gauge, float]) -> None:
        """Publish gauges of one engine: for several engines, the highest of each."""
        self._engines[engine] = values
        for gauge in values:
            gauge.set(max(seen.get(gauge, 0.0) for seen in self._engines.values()))

    def forget(self, labels: Labels) -> None:
        """Let the series of a version that left the server go, after an hour."""
        self._roster.forget(labels)

    def _counter(self, name: str, text: str, *more: str) -> Instrument:
        labels = (*LABEL_NAMES, *more)
        counter = Counter(f"dragoman_{name}", text, labels, registry=self._registry)
        return Instrument(counter, self._roster)

    def _seconds(self, name: str, text: str, *more: str) -> Instrument:
        histogram = Histogram(
            f"dragoman_{name}_seconds",
            text,
            (*LABEL_NAMES, *more),
            buckets=_SECONDS,
            registry=self._registry,
        )
        return Instrument(histogram, self._roster)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(
            f"dragoman_{name}", text, registry=self._registry, multiprocess_mode="livemostrecent"
        )


@lru_cache(maxsize=1)
def process_metrics() -> Metrics:
    """Return the instruments of this process; Prometheus allows each name once."""
    return Metrics()
