"""What a recipe says about the fit: how long and how fast. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from adapters.strict.section import Section


class EarlyStopping(Section):
    """Measure on dev while training, stop when it gets no better, and keep the best weights."""

    metric: Literal["chrf", "loss"] = Field(
        default="chrf", description="chrF++ of greedy translations of dev, or the loss on dev"
    )
    patience: int = Field(default=3, ge=1, le=1000, description="measurements without a better one")
    segments: int = Field(
        default=40, ge=1, le=10_000, description="chrf: so many of dev are translated each time"
    )


class Schedule(Section):
    """How long and how fast. Steps are optimizer steps; lengths are tokens of prompt + target."""

    epochs: float = Field(default=3.0, gt=0, le=1000)
    batch_size: int = Field(default=16, ge=1, le=4096, description="segments, of all processes")
    gradient_accumulation: int = Field(default=1, ge=1, le=1024)
    # Not strict: YAML 1.1 reads 5e-4, without a dot, as a string.
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, strict=False, description="without it, what suits the method"
    )
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps")
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        default="adamw", description="the 8-bit ones need a GPU; elsewhere they become adamw"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto",
        description="of the base and of what is computed; auto is the base's own, "
        "and fp16 becomes bf16 where there is no GPU",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations: a third slower, much less memory"
    )
    max_length: int = Field(default=256, ge=8, le=1 << 20, description="longer pairs are dropped")
    tokens_per_pass: int = Field(
        default=1024,
        ge=64,
        description="a batch of more goes through the model in parts: about 1 MB of memory a token "
        "on a 270M model; the result is the same",
    )
    max_steps: int | None = Field(default=None, ge=1, description="ends the run early")
    max_seconds: float | None = Field(default=None, gt=0, description="ends the run early")
    save_every: int = Field(default=50, ge=1, description="steps between checkpoints")
    evaluate_every: int = Field(default=50, ge=1, description="steps between measurements on dev")
    early_stopping: EarlyStopping | None = Field(
        default=None,
        description="a section, {} for its defaults: the best weights are kept, not the last",
    )
    average_checkpoints: int = Field(
        default=1,
        ge=1,
        le=100,
        description="the result is the mean of the last checkpoints, or of the best measured ones",
    )

    @property
    def rows_per_step(self) -> int:
        """Segments that one optimizer step learns from."""
        return self.batch_size * self.gradient_accumulation

    def steps(self, rows: int) -> int:
        """Return the optimizer steps of a run over `rows` segments."""
        steps = math.ceil(math.ceil(rows / self.rows_per_step) * self.epochs)
        return min(steps, self.max_steps or steps)
