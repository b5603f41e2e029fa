"""Stat-logger plugin: how full the engine is, after each of its steps."""

from __future__ import annotations

from typing import Any

from serving import markers
from serving.metrics import process_metrics
from serving.settings import handed_over
from serving.vllm_compat import StatLoggerBase


class SaturationLogger(StatLoggerBase):
    """Publishes the figure that autoscalers read, dragoman_saturation, and what is behind it."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        """Note the engine's capacity; inert in a vLLM that is not ours."""
        self._seats = vllm_config.scheduler_config.max_num_seqs
        lora = vllm_config.lora_config
        self._slots = lora.max_loras if lora is not None else 0
        self._engine = engine_index
        if handed_over() is not None:
            markers.set_marker("stats")

    def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
        """Take in one step's statistics."""
        if scheduler_stats is None:
            return
        # Every adapter with a request stands there, those that run none with a 0.
        running = sum(n > 0 for n in scheduler_stats.running_lora_adapters.values())
        waiting = scheduler_stats.num_skipped_waiting_reqs
        process_metrics().lora_info.note(
            self._slots,
            scheduler_stats.running_lora_adapters,
            scheduler_stats.waiting_lora_adapters,
        )
        self._publish(running, waiting, saturation(scheduler_stats, seats=self._seats))

    def log_engine_initialized(self) -> None:
        """Count the engine as idle from its start."""
        self._publish(0, 0, 0.0)

    def _publish(self, running: int, waiting: int, demand: float) -> None:
        metrics = process_metrics()
        metrics.note_engine(
            self._engine,
            {
                metrics.slots: self._slots,
                metrics.running_adapters: running,
                metrics.waiting_for_slots: waiting,
                metrics.saturation: demand,
            },
        )


def saturation(stats: Any, *, seats: int) -> float:
    """Return demand over capacity of what is scarcest: 0 idle, 1 full, above 1 with a queue.

    Seats: requests, running or waiting, over --max-num-seqs. KV cache: its use, grown by the
    requests that wait as if each needed as much as one that runs. Slots of adapters: once a
    request waits for one, what runs is all that the slots let in, and the demand is what runs and
    what waits for them. Slots that are merely full do not count: four adapters at a request each
    fill four slots of an engine that is all but idle.
    """
    running, deferred = stats.num_running_reqs, stats.num_skipped_waiting_reqs
    asked: int = running + stats.num_waiting_reqs + deferred
    cache: float = stats.kv_cache_usage * asked / max(1, running)
    slots: float = (running + deferred) / max(1, running) if deferred else 0.0
    return max(asked / seats, cache, slots)
