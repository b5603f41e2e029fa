"""What AdaLoRA does beside the steps: it moves ranks, and keeps its factors orthogonal."""

from __future__ import annotations

from typing import Any

import torch
from peft import AdaLoraModel, PeftModel
from torch import Tensor
from transformers import TrainerCallback, TrainerState


class MoveRanks(TrainerCallback):
    """Gives each module the rank that its singular values have earned (AdaLoRA, section 3).

    The penalty on factors that are not orthogonal is added to the gradients once a step, whatever
    the loss was summed over.
    """

    def __init__(self, model: PeftModel) -> None:
        tuner: Any = model.base_model
        self._tuner: AdaLoraModel = tuner
        config: Any = model.peft_config["default"]
        self._weight: float = config.orth_reg_weight

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Add the penalty's gradient."""
        if self._weight:
            (self._weight * not_orthogonal(self._tuner)).backward()

    def on_optimizer_step(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Count this step's gradients and allocate; they are still there."""
        self._tuner.update_and_allocate(state.global_step)


def not_orthogonal(model: torch.nn.Module) -> Tensor:
    """Return the mean of ||P P^T - I|| over the factors of `model` (PEFT's own sum, as a mean)."""
    distances = []
    for name, p in model.named_parameters():
        if p.requires_grad and ("lora_A" in name or "lora_B" in name):
            square = p @ p.T if "lora_A" in name else p.T @ p
            distances.append(torch.linalg.norm(square - torch.eye(len(square), device=p.device)))
    return torch.stack(distances).mean()
