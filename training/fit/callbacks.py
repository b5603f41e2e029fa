"""What happens around the steps: measuring, reporting, stopping in time and stopping on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState

from training.fit import ranks
from training.fit.result import FitProgress, OnProgress

WARM_UP_STEPS: Final = 2


class Meter(TrainerCallback):
    """Counts tokens per second of the steps after warm-up, and passes on where the run stands."""

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self._steps = 0
        self._seconds = 0.0
        self._tokens = 0
        self._seen_before = 0
        self._started = 0.0

    @property
    def tok_s(self) -> float:
        """Non-padding tokens of prompt and target per second."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Start the clock; the batch is made already, so its tokens come with the step."""
        self._started = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Stop the clock and report."""
        self._steps += 1
        tokens = int(state.num_input_tokens_seen) - self._seen_before
        self._seen_before = int(state.num_input_tokens_seen)
        if self._steps > WARM_UP_STEPS:
            self._seconds += time.monotonic() - self._started
            self._tokens += tokens
        if self._on_progress is not None:
            self._on_progress(
                FitProgress(
                    step=state.global_step,
                    total_steps=state.max_steps,
                    loss=_last(state, "loss"),
                    dev_loss=_last(state, "eval_loss"),
                    tokens=self._seen_before,
                    tok_s=self.tok_s,
                    dev_chrf=_last(state, "eval_chrf"),
                )
            )


def series(state: TrainerState, name: str) -> tuple[tuple[int, float], ...]:
    """Return (step, value) of what was logged, also before a run was resumed."""
    return tuple((int(row["step"]), row[name]) for row in state.log_history if name in row)


def _last(state: TrainerState, name: str) -> float | None:
    return next((row[name] for row in reversed(state.log_history) if name in row), None)


class Stop(TrainerCallback):
    """Ends a run after a number of seconds, or when asked to; the checkpoint is written first."""

    def __init__(self, max_seconds: float | None) -> None:
        self.requested = False
        self._max_seconds = max_seconds
        self._started = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop if it is time; measure the loss on dev once more at the very end."""
        late = self._max_seconds is not None
        late = late and time.monotonic() - self._started >= float(self._max_seconds or 0)
        # Clocks and signals differ between processes; all of them stop after the same step.
        asked, over = (
            any(them) for them in zip(*ranks.gather((self.requested, late)), strict=True)
        )
        self.requested = asked
        if asked or over:
            control.should_training_stop = True
            control.should_save = True
        last = over or state.global_step >= state.max_steps
        if last and not asked and args.eval_strategy != "no":
            control.should_evaluate = True


@contextmanager
def stop_on_interrupt(stop: Stop) -> Iterator[None]:
    """Make the first Ctrl-C (or SIGTERM) end the run after its step; the second ends it at once.

    Raises KeyboardInterrupt when the block ends early because of the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(*_: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.requested:
        raise KeyboardInterrupt
