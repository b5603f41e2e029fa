"""What each request cost, by adapter: vLLM's own statistics do not say which adapter it was."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from adapters.ids import AdapterId
from serving.metrics import Metrics

BASE_LABELS: Final = ("base", "")
_OUTCOMES: Final = {"stop": "ok", "length": "length", "abort": "aborted", "error": "error"}
# A request of several choices ended as the worst of them.
_WORST_FIRST: Final = ("error", "aborted", "length", "ok")


class ObservedEngine:
    """vLLM's engine client, with every `generate` counted; all else is passed on."""

    def __init__(self, engine: Any, metrics: Metrics, versions: dict[str, tuple[str, str]]) -> None:
        """Count into `metrics`; `versions` maps the engine's names to (adapter, version)."""
        self._engine = engine
        self._metrics = metrics
        self._versions = versions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Yield what the engine yields; count tokens and times when the request ends."""
        tally = _Tally(self._labels(options.get("lora_request")))
        outputs = self._engine.generate(prompt, sampling_params, request_id, **options)
        try:
            # Closed with us, so that a client who hangs up frees the engine at once.
            async with aclosing(outputs):
                async for output in outputs:
                    tally.add(output)
                    yield output
        except Exception:
            tally.outcome = "error"
            raise
        finally:
            tally.record(self._metrics)

    def _labels(self, lora_request: Any) -> tuple[str, str]:
        if lora_request is None:
            return BASE_LABELS
        return self._versions.get(lora_request.lora_name, (lora_request.lora_name, ""))


class _Tally:
    """One request: tokens so far, and how it ended."""

    def __init__(self, labels: tuple[str, str]) -> None:
        self.labels = labels
        # A client that hangs up closes the generator before the request is finished.
        self.outcome = "aborted"
        self._endings: set[str] = set()
        self._started = time.perf_counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._stats: Any = None

    def add(self, output: Any) -> None:
        """Take in one output: a delta while streaming, else the whole answer at the end."""
        self._prompt_tokens = len(output.prompt_token_ids or ()) or self._prompt_tokens
        self._completion_tokens += sum(len(choice.token_ids) for choice in output.outputs)
        self._stats = output.metrics or self._stats
        reasons = [choice.finish_reason for choice in output.outputs]
        self._endings |= {_OUTCOMES.get(reason, "error") for reason in reasons if reason}
        if output.finished and self._endings:
            self.outcome = next(worst for worst in _WORST_FIRST if worst in self._endings)

    def record(self, metrics: Metrics) -> None:
        """Write the request into the metrics."""
        metrics.requests.labels(*self.labels, self.outcome).inc()
        metrics.prompt_tokens.labels(*self.labels).inc(self._prompt_tokens)
        metrics.completion_tokens.labels(*self.labels).inc(self._completion_tokens)
        metrics.request.labels(*self.labels).observe(time.perf_counter() - self._started)
        stats = self._stats
        if stats is None or not stats.first_token_ts:
            return
        metrics.queue.labels(*self.labels).observe(max(0.0, stats.scheduled_ts - stats.queued_ts))
        metrics.first_token.labels(*self.labels).observe(stats.first_token_latency)
        if stats.num_generation_tokens > 1:
            gap = (stats.last_token_ts - stats.first_token_ts) / (stats.num_generation_tokens - 1)
            metrics.inter_token.labels(*self.labels).observe(max(0.0, gap))


def labels_of(adapter_id: AdapterId, version: int) -> tuple[str, str]:
    """Return the values of the labels `adapter` and `version`."""
    return str(adapter_id), str(version)
