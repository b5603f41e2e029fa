"""Where a run stands, for Prometheus: `dragoman train RECIPE --metrics 0.0.0.0:9000`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from adapters.errors import TrainingFailed
from training.fit.result import FitProgress, OnProgress

_GAUGES: Final = {
    "step": "Optimiser steps done, those of earlier sessions included.",
    "steps": "Optimiser steps of the whole run.",
    "loss": "Loss per target token of the last steps.",
    "dev_loss": "Loss per target token on dev, as measured last.",
    "dev_chrf": "chrF++ on dev, where early stopping goes by it.",
    "tokens": "Tokens of prompt and target seen, without padding.",
    "tokens_per_second": "Tokens per second of this session, without its first steps.",
}


class RunMetrics:
    """Gauges dragoman_training_*, labelled with the adapter that is trained."""

    def __init__(self, adapter: str, registry: CollectorRegistry) -> None:
        """Show nothing but the labels until the fit begins."""
        self._adapter = adapter
        self._gauges = {
            name: Gauge(f"dragoman_training_{name}", text, ("adapter",), registry=registry)
            for name, text in _GAUGES.items()
        }

    def note(self, where: FitProgress) -> None:
        """Take in one step; what was not measured yet is not shown."""
        found = {
            "step": where.step,
            "steps": where.total_steps,
            "loss": where.loss,
            "dev_loss": where.dev_loss,
            "dev_chrf": where.dev_chrf,
            "tokens": where.tokens,
            "tokens_per_second": where.tok_s,
        }
        for name, value in found.items():
            if value is not None:
                self._gauges[name].labels(self._adapter).set(value)


@contextmanager
def exported(address: tuple[str, int] | None, adapter: str) -> Iterator[OnProgress]:
    """Yield what shows each step on http://address/metrics while the block lasts.

    Raises TrainingFailed where nothing can listen there. Without an address it does nothing.
    """
    if address is None:
        yield lambda _: None
        return
    host, port = address
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = RunMetrics(adapter, registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise TrainingFailed(
            f"--metrics {host}:{port}: {error.strerror}; choose another port"
        ) from error
    try:
        yield metrics.note
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `[HOST:]PORT`; the host is this machine's own loopback if left out.

    Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16 or (colon and not host):
        raise ValueError(f"{text!r} is not [HOST:]PORT with a port from 1 to 65535")
    return host or "127.0.0.1", int(port)
