"""SFT that is held to its base: cross entropy and KL(base || adapted) at target tokens."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel

from adapters.errors import TrainingFailed
from training.fit.trainer import LabelTrainer
from training.objectives.divergence import regularised_loss
from training.objectives.label_hidden import give_label_hidden, head_of, labels_of


class RegularisedTrainer(LabelTrainer):
    """LabelTrainer with the divergence from the base in its loss; the loss on dev is without it."""

    def __init__(self, *, kl_to_base: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.adapted.model, PeftModel):
            raise TrainingFailed(
                "objective.kl_to_base compares with the base, and this method changes its weights; "
                "use an adapter, such as method.kind: lora, or kl_to_base: 0"
            )
        self._kl_to_base = kl_to_base
        give_label_hidden(self.adapted.base)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean over the optimizer step's target tokens."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_BT = inputs["labels"]
        asked = {"input_ids": inputs["input_ids"], "labels": labels_BT, "label_hidden": True}
        adapted: Any = self.adapted.model
        with torch.no_grad(), adapted.disable_adapter():
            base_ND = model(**asked)
        labels_N, _ = labels_of(labels_BT)
        loss, divergence = regularised_loss(
            model(**asked), base_ND, head_of(self.adapted.base), labels_N, kl=self._kl_to_base
        )
        self._metrics["train"]["kl_to_base"].append(float(divergence) / max(len(labels_N), 1))
        count = len(labels_N) if num_items_in_batch is None else int(num_items_in_batch)
        return loss / max(count, 1)
