"""What a fit tells: while it runs, and when it is done. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.manifest import Conversion


@dataclass(frozen=True)
class FitProgress:
    """Where a running fit stands; what is measured now and then is the last of its kind.

    Losses are per target token; `dev_chrf` is chrF++ of dev as translated while training.
    """

    step: int
    total_steps: int
    loss: float | None
    dev_loss: float | None
    tokens: int
    tok_s: float
    dev_chrf: float | None = None


OnProgress = Callable[[FitProgress], None]


@dataclass(frozen=True)
class FitResult:
    """A trained adapter and what its training took.

    `losses` and `dev_losses` are (step, loss per target token), `dev_chrf` (step, chrF++ of dev),
    over all sessions of a resumed run. `preferences`, where the objective is of them, are (step,
    share of dev pairs whose chosen side is the likelier, reward margin), the first from before
    training. `tokens` counts prompt and target without padding, over all sessions; `tok_s` is of
    this session's steps after the first two; `seconds` is this session's wall time, model loading
    excluded. `kept_steps` are those whose weights were taken, where these are not the last ones.
    `skipped` steps had a loss or gradient that was not finite; in the steps `spikes` the loss
    jumped. `conversion` says what was lost where the adapter is a LoRA that stands for what was
    trained.
    """

    adapter_folder: Path
    seconds: float
    steps: int
    tokens: int
    tok_s: float
    losses: tuple[tuple[int, float], ...]
    dev_losses: tuple[tuple[int, float], ...]
    trainable_parameters: int
    target_modules: tuple[str, ...]
    peak_rss_gb: float
    versions: dict[str, str]
    conversion: Conversion | None = None
    preferences: tuple[tuple[int, float, float], ...] = ()
    dev_chrf: tuple[tuple[int, float], ...] = ()
    kept_steps: tuple[int, ...] = ()
    skipped: int = 0
    spikes: tuple[int, ...] = ()

    def figures(self) -> dict[str, Any]:
        """Return what a run's summary says of it."""
        return {
            "train_s": round(self.seconds, 1),
            "train_tok_s": round(self.tok_s, 1),
            "train_steps": self.steps,
            "train_steps_skipped": self.skipped,
            "loss_spikes": list(self.spikes),
            "dev_chrf": [[step, round(value, 2)] for step, value in self.dev_chrf],
            "kept_steps": list(self.kept_steps),
            "peak_rss_gb": round(self.peak_rss_gb, 2),
            "trainable_parameters": self.trainable_parameters,
        }
