"""KeepBest: a fit ends with the weights that were best on dev, and once they get no better."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from training.fit.schedule import EarlyStopping
from training.fit.snapshots import Snapshots
from training.methods.attach import Adapted
from training.run_log import RunLog


class KeepBest(TrainerCallback):
    """Takes a snapshot where dev is measured; stops after `patience` without a better one."""

    def __init__(
        self, adapted: Adapted, snapshots: Snapshots, rule: EarlyStopping, log: RunLog
    ) -> None:
        self._adapted = adapted
        self._snapshots = snapshots
        self._rule = rule
        self._log = log
        self._best: float | None = None
        self._waited = 0
        self._last_step = -1

    def on_evaluate(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        **given: Any,
    ) -> None:
        """Judge the weights; every process judges alike, by the same figures."""
        if state.global_step in {0, self._last_step}:  # 0: before training
            return
        self._last_step = state.global_step
        figure = given["metrics"][f"eval_{self._rule.metric}"]
        value = figure if self._rule.metric == "chrf" else -figure
        value = value if math.isfinite(value) else -math.inf
        self._snapshots.offer(state.global_step, self._adapted.trainable(), value)
        if self._best is None or value > self._best:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self._rule.patience:
            self._log.note(
                f"fit: stops at step {state.global_step}, {self._rule.metric} on dev got no "
                f"better {self._waited} times in a row"
            )
            control.should_training_stop = True
            control.should_save = True

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        """Stop at once what was resumed after it had stopped."""
        if self._waited >= self._rule.patience:
            control.should_training_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return how long it has waited for what."""
        return {"best": self._best, "waited": self._waited, "last_step": self._last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self._best, self._waited = state["best"], state["waited"]
        self._last_step = state["last_step"]
