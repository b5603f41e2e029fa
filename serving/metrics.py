"""Per-adapter metrics, beside vLLM's own on /metrics."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_LABELS = ("adapter", "version")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The instruments; names and labels are an interface that dashboards and rules rely on."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "dragoman_requests", "Requests by outcome.", (*_LABELS, "outcome"), registry=registry
        )
        self.prompt_tokens = Counter(
            "dragoman_prompt_tokens", "Prompt tokens.", _LABELS, registry=registry
        )
        self.completion_tokens = Counter(
            "dragoman_completion_tokens", "Generated tokens.", _LABELS, registry=registry
        )
        self.queue = self._seconds("queue", "Time in the engine's queue.", registry)
        self.first_token = self._seconds("time_to_first_token", "Time to first token.", registry)
        self.inter_token = self._seconds(
            "inter_token", "Mean time between tokens, by request.", registry
        )
        self.request = self._seconds("request", "Time from arrival to the last token.", registry)
        self.loads = Counter(
            "dragoman_adapter_loads",
            "Loads into the engine.",
            (*_LABELS, "source"),
            registry=registry,
        )
        self.load_seconds = Histogram(
            "dragoman_adapter_load_seconds",
            "Time of a load into the engine.",
            (*_LABELS, "source"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.resident = Gauge(
            "dragoman_adapter_resident",
            "1 where the adapter lies in that tier.",
            (*_LABELS, "tier"),
            registry=registry,
        )
        self.evictions = Counter(
            "dragoman_adapter_evictions",
            "Times that the adapter left a tier.",
            (*_LABELS, "tier"),
            registry=registry,
        )
        self.saturation = Gauge(
            "dragoman_saturation",
            "Demand over capacity: 1 means every slot or all of the KV cache is in use.",
            registry=registry,
        )

        self._demand: dict[int, float] = {}

    def note_saturation(self, engine: int, demand: float) -> None:
        """Publish the fullest engine's demand over capacity."""
        self._demand[engine] = demand
        self.saturation.set(max(self._demand.values()))

    @staticmethod
    def _seconds(name: str, text: str, registry: CollectorRegistry) -> Histogram:
        return Histogram(
            f"dragoman_{name}_seconds", text, _LABELS, buckets=_SECONDS, registry=registry
        )


@lru_cache(maxsize=1)
def process_metrics() -> Metrics:
    """Return the instruments of this process; Prometheus allows each name once."""
    return Metrics()
