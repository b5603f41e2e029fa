"""What a fit tells: while it runs, and when it is done. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapters.manifest import Conversion


@dataclass(frozen=True)
class FitProgress:
    """Where a running fit stands; `loss` is the last logged one, per target token."""

    step: int
    total_steps: int
    loss: float | None
    dev_loss: float | None
    tokens: int
    tok_s: float


OnProgress = Callable[[FitProgress], None]


@dataclass(frozen=True)
class FitResult:
    """A trained adapter and what its training took.

    `losses` and `dev_losses` are (step, loss per target token). `preferences`, where the objective
    is of them, are (step, share of dev pairs whose chosen side is the likelier, reward margin),
    the first from before training. `tokens` counts prompt and target without padding, over all
    sessions of a resumed run; `tok_s` is of this session's steps after the first two; `seconds` is
    this session's wall time, model loading excluded.
    `conversion` says what was lost where the adapter is a LoRA that stands for what was trained.
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
