"""What a recipe says about the fit: the method and the schedule. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from training.section import Section

# vLLM reserves slots for these ranks only; another rank is served padded to the next of them.
SERVED_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class LoraMethod(Section):
    """Which small matrices are trained beside the frozen base."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=SERVED_RANKS[-1])
    alpha: float = Field(default=32.0, gt=0, description="scale of the update is alpha / rank")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="costs a copy of every input; 0 is right for LoRA",
    )
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default="all-linear",
        description="names of linear modules; never embeddings or lm_head",
    )
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank) instead")

    @field_validator("targets")
    @classmethod
    def _servable(cls, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not targets:
            raise ValueError("name at least one module, or 'all-linear'")
        refused = sorted({"lm_head", "embed_tokens"}.intersection(targets))
        if not isinstance(targets, str) and refused:
            raise ValueError(f"{', '.join(refused)} cannot be served as LoRA on every base")
        return targets


class Schedule(Section):
    """How long and how fast. Steps are optimizer steps; lengths are tokens of prompt + target."""

    epochs: float = Field(default=3.0, gt=0, le=1000)
    batch_size: int = Field(default=16, ge=1, le=4096, description="segments per forward pass")
    gradient_accumulation: int = Field(default=1, ge=1, le=1024)
    # Not strict: YAML 1.1 reads 5e-4, without a dot, as a string.
    learning_rate: float = Field(default=5e-4, gt=0, le=1, strict=False)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps")
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
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
    evaluate_every: int = Field(default=50, ge=1, description="steps between losses on dev")
