"""Stat-logger plugin: how full the engine is, after each of its steps."""

from __future__ import annotations

import os
import time
from typing import Any

from serving import markers
from serving.door.speed import process_speed
from serving.metrics import process_metrics
from serving.settings import handed_over
from serving.step_times import StepTimes
from serving.vllm_compat import StatLoggerBase, forget_lora_mixes


class SaturationLogger(StatLoggerBase):
    """Publishes the figures that autoscalers read, and what is behind them."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        """Note the engine's capacity; inert in a vLLM that is not ours."""
        self._seats = vllm_config.scheduler_config.max_num_seqs
        lora = vllm_config.lora_config
        self._slots = lora.max_loras if lora is not None else 0
        self._engine = engine_index
        self._times = StepTimes()
        # Of several API processes each sees some of the steps, and no time between two of them.
        self._sees_all = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
        self._last = (0.0, 0)
        if handed_over() is not None:
            markers.set_marker("stats")

    def record(self, scheduler_stats: Any, iteration_stats: Any = None, *_: Any, **__: Any) -> None:
        """Take in one step's statistics."""
        if scheduler_stats is None:
            return
        stats = scheduler_stats
        if self._sees_all:  # values of several processes are in files, which nothing can empty
            forget_lora_mixes()
        # Every adapter with a request stands there, those that run none with a 0.
        adapters = sum(n > 0 for n in stats.running_lora_adapters.values())
        process_metrics().lora_info.note(
            self._slots, stats.running_lora_adapters, stats.waiting_lora_adapters
        )
        self._time(stats, iteration_stats)
        tokens = iteration_stats.num_generation_tokens if iteration_stats is not None else 0
        process_speed().note(tokens, stats.num_running_reqs)
        waits = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
        self._publish(
            adapters,
            stats.num_skipped_waiting_reqs,
            saturation(stats, seats=self._seats),
            1.0 if waits else self._times.share(stats.num_running_reqs, self._room(stats)),
        )

    def log_engine_initialized(self) -> None:
        """Count the engine as idle from its start."""
        self._publish(0, 0, 0.0, 0.0)

    def _time(self, stats: Any, iteration_stats: Any) -> None:
        """Learn from the step, if all that ran in it made one token each."""
        now = time.monotonic()
        before, ran = self._last
        decoded = iteration_stats is not None and not iteration_stats.num_prompt_tokens
        if self._sees_all and decoded and ran:
            self._times.note(ran, now - before)
        self._last = (now, stats.num_running_reqs)

    def _room(self, stats: Any) -> float:
        """Return how many requests like those that run would fill the batch or the KV cache."""
        taken = max(stats.num_running_reqs / self._seats, stats.kv_cache_usage)
        return float(stats.num_running_reqs / taken) if taken else float(self._seats)

    def _publish(self, running: int, waiting: int, demand: float, share: float) -> None:
        metrics = process_metrics()
        metrics.note_engine(
            self._engine,
            {
                metrics.slots: self._slots,
                metrics.running_adapters: running,
                metrics.waiting_for_slots: waiting,
                metrics.saturation: demand,
                metrics.utilization: share,
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
