"""dragoman_lora_requests_info: which adapters run and wait here, for gateways that route by it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_LABELS: Final = ("max_lora", "running_lora_adapters", "waiting_lora_adapters")


class LoraInfo(Collector):
    """One series, of now: vLLM's own names versions, and keeps a series for each mix it ever saw.

    The endpoint picker of the Gateway API's inference extension compares these names with a
    request's `model`, so they are ids. It takes the series with the highest value, a Unix time.
    With several API processes there is none: each would know a part.
    """

    def __init__(self) -> None:
        self._noted: tuple[int, Mapping[str, int], Mapping[str, int]] = (0, {}, {})

    def note(self, slots: int, running: Mapping[str, int], waiting: Mapping[str, int]) -> None:
        """Take in the requests that run and wait, by vLLM's names of versions (`id@digest`)."""
        # This runs at each of the engine's steps: it is put into words when somebody asks.
        self._noted = slots, running, waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one series."""
        family = GaugeMetricFamily(
            "dragoman_lora_requests_info",
            "Adapters with requests that run and that wait; the value is the time.",
            labels=_LABELS,
        )
        slots, running, waiting = self._noted
        family.add_metric([str(slots), _ids(running), _ids(waiting)], time.time())
        yield family


def _ids(requests: Mapping[str, int]) -> str:
    return ",".join(sorted({name.partition("@")[0] for name, n in requests.items() if n}))
