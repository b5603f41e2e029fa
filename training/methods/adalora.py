"""What AdaLoRA does beside the steps: it moves ranks, and keeps its factors orthogonal."""

from __future__ import annotations

from typing import Any, Final

import torch
from peft import AdaLoraModel, PeftModel
from torch import Tensor
from transformers import TrainerCallback, TrainerState

# What PEFT's allocator keeps of every weight from step to step.
_IMPORTANCE: Final = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class MoveRanks(TrainerCallback):
    """Gives each module the rank that its singular values have earned (AdaLoRA, section 3).

    The penalty on factors that are not orthogonal is added to the gradients once a step, whatever
    the loss was summed over.
    """

    def __init__(self, model: PeftModel) -> None:
        tuner: Any = model.base_model
        self._tuner: AdaLoraModel = tuner
        config: Any = model.peft_config["default"]
        self._config = config
        self._weight: float = config.orth_reg_weight

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Add the penalty's gradient."""
        if self._weight and self._has_gradients():
            (self._weight * not_orthogonal(self._tuner)).backward()

    def on_optimizer_step(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Count this step's gradients and allocate; they are still there."""
        counts = state.global_step < self._config.total_step - self._config.tfinal
        if self._has_gradients() or not counts:  # a step that was left out has none
            self._tuner.update_and_allocate(state.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the ranks that were given, and what is known of each weight's importance."""
        allocator = self._tuner.rankallocator
        return {
            "rank_pattern": self._config.rank_pattern,
            **{name: dict(getattr(allocator, name)) for name in _IMPORTANCE},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self._config.rank_pattern = state["rank_pattern"]
        for name in _IMPORTANCE:
            setattr(self._tuner.rankallocator, name, dict(state[name]))

    def follow_weights(self) -> None:
        """Take the ranks from the singular values, after weights of other steps were put in."""
        if self._config.rank_pattern:
            self._config.rank_pattern = {
                name: (p != 0).flatten().tolist()
                for name, p in self._tuner.model.named_parameters()
                if "lora_E" in name
            }

    def _has_gradients(self) -> bool:
        return any(p.grad is not None for p in self._tuner.parameters())


def not_orthogonal(model: torch.nn.Module) -> Tensor:
    """Return the mean of ||P P^T - I|| over the factors of `model` (PEFT's own sum, as a mean)."""
    distances = []
    for name, p in model.named_parameters():
        if p.requires_grad and ("lora_A" in name or "lora_B" in name):
            square = p @ p.T if "lora_A" in name else p.T @ p
            distances.append(torch.linalg.norm(square - torch.eye(len(square), device=p.device)))
    return torch.stack(distances).mean()
