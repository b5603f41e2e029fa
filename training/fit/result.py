"""What a fit tells: while it runs, and when it is done. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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
    over all sessions of a resumed run. `tokens` counts prompt and target without padding, over all
    sessions; `tok_s` is of this session's steps after the first two; `seconds` is this session's
    wall time, model loading excluded. `kept_steps` are those whose weights were taken, where these
    are not the last ones. `skipped` steps had a loss or gradient that was not finite; in the steps
    `spikes` the loss jumped.
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
    dev_chrf: tuple[tuple[int, float], ...] = ()
    kept_steps: tuple[int, ...] = ()
    skipped: int = 0
    spikes: tuple[int, ...] = ()
