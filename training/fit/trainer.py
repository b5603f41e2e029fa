"""TRL's SFT trainer for rows of ids: loss at label positions, exact dev loss, nothing but ids."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTTrainer

from training.encode import IGNORED
from training.fit.batches import LengthGrouped
from training.fit.label_loss import can_score_labels_only, score_labels_only


class LabelTrainer(SFTTrainer):  # type: ignore[misc]  # trl has no types
    """SFTTrainer that scores label positions only where TRL would score all of them (the CPU)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        base = self.model.get_base_model()
        self._labels_only = can_score_labels_only(base)
        if self._labels_only:
            score_labels_only(base)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of the optimizer step's target tokens."""
        if not self._labels_only or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_BT = inputs["labels"]
        loss = model(input_ids=inputs["input_ids"], labels=labels_BT, summed_loss=True)
        count = _label_count(labels_BT) if num_items_in_batch is None else num_items_in_batch
        return loss / max(int(count), 1)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss per target token; the inherited one averages over batches instead."""
        model = self.model.eval()
        total, tokens = 0.0, 0
        for batch in self.get_eval_dataloader(eval_dataset):
            inputs = self._prepare_inputs(batch)
            count = _label_count(inputs["labels"])
            with torch.inference_mode(), self.compute_loss_context_manager():
                total += float(self.compute_loss(model, inputs)) * count
            tokens += count
        model.train()
        metrics = {f"{metric_key_prefix}_loss": total / max(tokens, 1)}
        self.log(metrics)
        return metrics

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: the manifest says more, and checkpoints need no prose."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        return LengthGrouped(lengths, self.args.train_batch_size, seed=self.args.seed)


def _label_count(labels_BT: torch.Tensor) -> int:
    return int((labels_BT[:, 1:] != IGNORED).sum())
