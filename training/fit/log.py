"""The record of a fit in the run's folder: metrics.jsonl, loss.svg and TensorBoard's events."""

from __future__ import annotations

import importlib.util
from typing import Any, Final

from transformers import TrainerCallback, TrainerState

from training.evaluate.chart import loss_chart
from training.run_log import RunLog

CHART_FILE: Final = "loss.svg"
EVENTS_FOLDER: Final = "tensorboard"
# The trainer's names, ours, and TensorBoard's.
_FIGURES: Final = (
    ("loss", "loss", "train/loss"),
    ("grad_norm", "grad_norm", "train/grad_norm"),
    ("learning_rate", "learning_rate", "train/learning_rate"),
    ("eval_loss", "dev_loss", "dev/loss"),
    ("eval_chrf", "dev_chrf", "dev/chrf"),
    ("num_input_tokens_seen", "tokens", "train/tokens"),
)


class Record(TrainerCallback):
    """Writes down what the trainer logs, and draws it at each checkpoint and at the end."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._events: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Open the event file; a resumed run hides there what it will do again."""
        self._log.forget_after(state.global_step)
        # Comes with the `train` extra; a fit without it lacks the events, nothing else.
        if self._log.folder is not None and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            folder = str(self._log.folder / EVENTS_FOLDER)
            self._events = SummaryWriter(folder, purge_step=state.global_step + 1)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write the figures of a step."""
        logs = logs or {}
        found = [(ours, board, logs[name]) for name, ours, board in _FIGURES if name in logs]
        if not {"loss", "dev_loss"}.intersection(ours for ours, _, _ in found):
            return  # the trainer's closing line: run times
        self._log.measure(state.global_step, {ours: value for ours, _, value in found})
        shown = ", ".join(f"{ours} {value:.4g}" for ours, _, value in found)
        self._log.write(f"step {state.global_step}/{state.max_steps}: {shown}")
        if self._events is not None:
            for _ours, board, value in found:
                self._events.add_scalar(board, value, state.global_step)

    def on_save(self, *_: Any, **__: Any) -> None:
        """Draw the run so far."""
        self._draw()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Draw the whole run, and close the event file."""
        self._draw()
        if self._events is not None:
            self._events.close()

    def _draw(self) -> None:
        rows = self._log.figures()
        series = {
            name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            for name in ("loss", "dev_loss", "dev_chrf")
        }
        chart = loss_chart(series["loss"], series["dev_loss"], series["dev_chrf"])
        if chart is not None and self._log.folder is not None:
            file = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
            (self._log.folder / CHART_FILE).write_text(file + "\n", encoding="utf-8")
