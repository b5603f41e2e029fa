"""What each request cost, by adapter: vLLM's own statistics do not say which adapter it was."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from adapters.errors import Draining, EngineDead
from adapters.ids import AdapterId
from serving import deferral
from serving.door import admitted
from serving.door.used import Used
from serving.metrics import Metrics
from serving.turn import Turn, attach

BASE_LABELS: Final = ("base", "")
_OUTCOMES: Final = {"stop": "ok", "length": "length", "abort": "aborted", "error": "error"}
# A request of several choices ended as the worst of them.
_WORST_FIRST: Final = ("error", "aborted", "length", "ok")


class ObservedEngine:
    """vLLM's engine client, with every `generate` counted; all else is passed on."""

    def __init__(
        self,
        engine: Any,
        metrics: Metrics,
        versions: dict[str, tuple[str, str]],
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """Count into `metrics`; `versions` maps the engine's names to (adapter, version)."""
        self.unobserved = engine
        self._metrics = metrics
        self._versions = versions
        self._is_draining = is_draining

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unobserved, name)

    @property
    def dead_error(self) -> BaseException:
        """What vLLM's handlers raise when they find the engine dead."""
        return EngineDead()

    def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Yield what the engine yields, as `observe` does."""
        at_hand = admitted.current.get()
        if at_hand is not None:
            attach(sampling_params, Turn.of(at_hand.caller))
        outputs = self.unobserved.generate(prompt, sampling_params, request_id, **options)
        return self.observe(outputs, options.get("lora_request"))

    async def observe(
        self, outputs: AsyncGenerator[Any, None], lora_request: Any
    ) -> AsyncGenerator[Any, None]:
        """Yield the outputs of one request; count tokens and times.

        Raises EngineDead, or Draining for what the engine gave up at the server's end.
        """
        at_hand = admitted.current.get()
        used = at_hand.used if at_hand is not None else Used()
        tally = _Tally(self._labels(lora_request), self._metrics, used)
        try:
            # Closed with us, so that a client who hangs up frees the engine at once.
            async with aclosing(outputs):
                async for output in outputs:
                    tally.add(output)
                    if tally.outcome == "aborted" and output.finished:
                        raise Draining
                    yield output
        except Exception as error:
            tally.outcome = "aborted" if isinstance(error, Draining) else "error"
            if self.unobserved.errored and not isinstance(error, Draining):
                raise (Draining() if self._is_draining() else EngineDead()) from error
            raise
        finally:
            tally.record()

    def _labels(self, lora_request: Any) -> tuple[str, str]:
        if lora_request is None:
            return BASE_LABELS
        return self._versions.get(lora_request.lora_name, (lora_request.lora_name, ""))


class _Tally:
    """One request: tokens so far, and how it ended."""

    def __init__(self, labels: tuple[str, str], metrics: Metrics, used: Used) -> None:
        """Add to `used`, which may be that of several prompts of one request."""
        # A client that hangs up closes the generator before the request is finished.
        self.outcome = "aborted"
        self._labels = labels
        self._metrics = metrics
        self._used = used
        self._endings: set[str] = set()
        self._started = time.perf_counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._stats: Any = None
        self._token_at = 0.0
        self._gaps: Any = None
        self._single = True
        metrics.arrivals.labels(*labels).inc()

    def add(self, output: Any) -> None:
        """Take in one output: a delta while streaming, else the whole answer at the end."""
        deferred_s = deferral.detach(output)
        if deferred_s is not None:
            self._metrics.deferred.labels(*self._labels).observe(deferred_s)
        if not self._prompt_tokens:
            self._prompt_tokens = len(output.prompt_token_ids or ())
            self._used.prompt_tokens += self._prompt_tokens
        new = 0
        for choice in output.outputs:
            new += len(choice.token_ids)
            if choice.finish_reason:
                self._endings.add(_OUTCOMES.get(choice.finish_reason, "error"))
        self._completion_tokens += new
        self._used.completion_tokens += new
        self._stats = stats = output.metrics or self._stats
        self._single = self._single and len(output.outputs) == 1 and not output.outputs[0].index
        if stats is not None and self._single:
            self._note_gap(stats.last_token_ts, new)
        if output.finished and self._endings:
            self.outcome = next(worst for worst in _WORST_FIRST if worst in self._endings)

    def _note_gap(self, token_at: float, new: int) -> None:
        """Record the time since the output before, which has the same clock: the engine's.

        Tokens that one output brings together share it evenly. An answer that comes whole has no
        gaps, and neither have further choices of a request.
        """
        if self._token_at and new:
            gap = (token_at - self._token_at) / new
            # Looked up once: this runs for each token, on a core that the engine shares.
            if self._gaps is None:
                self._gaps = self._metrics.inter_token.labels(*self._labels)
            for _ in range(new):
                self._gaps.observe(gap)
        self._token_at = token_at

    def record(self) -> None:
        """Write the request into the metrics."""
        metrics, labels = self._metrics, self._labels
        metrics.requests.labels(*labels, self.outcome).inc()
        metrics.prompt_tokens.labels(*labels).inc(self._prompt_tokens)
        metrics.completion_tokens.labels(*labels).inc(self._completion_tokens)
        metrics.request.labels(*labels).observe(time.perf_counter() - self._started)
        stats = self._stats
        if stats is None or not stats.first_token_ts:
            return
        queue_s = max(0.0, stats.scheduled_ts - stats.queued_ts)
        metrics.queue.labels(*labels).observe(queue_s)
        metrics.first_token.labels(*labels).observe(stats.first_token_latency)
        if self._used.first_token_s is None:
            self._used.queue_s, self._used.first_token_s = queue_s, stats.first_token_latency


def labels_of(adapter_id: AdapterId, version: int) -> tuple[str, str]:
    """Return the values of the labels `adapter` and `version`."""
    return str(adapter_id), str(version)
