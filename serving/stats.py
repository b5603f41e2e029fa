"""Stat-logger plugin: how full the engine is, after each of its steps."""

from __future__ import annotations

from typing import Any

from serving import markers
from serving.metrics import process_metrics
from serving.settings import handed_over
from serving.vllm_compat import StatLoggerBase


class SaturationLogger(StatLoggerBase):
    """Publishes the figure that autoscalers read, dragoman_saturation."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        """Note the engine's capacity; inert in a vLLM that is not ours."""
        self._slots = vllm_config.scheduler_config.max_num_seqs
        self._engine = engine_index
        if handed_over() is not None:
            markers.set_marker("stats")

    def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
        """Take in one step's statistics."""
        if scheduler_stats is not None:
            demand = saturation(scheduler_stats, self._slots)
            process_metrics().note_saturation(self._engine, demand)

    def log_engine_initialized(self) -> None:
        """Count the engine as idle from its start."""
        process_metrics().note_saturation(self._engine, 0.0)


def saturation(stats: Any, slots: int) -> float:
    """Return demand over capacity: of the engine's slots or of its KV cache, whichever is more."""
    demand = stats.num_running_reqs + stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
    return max(float(stats.kv_cache_usage), float(demand) / slots)
