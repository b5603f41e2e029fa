"""DPO and CPO as a loss of the label trainer: equal to TRL's trainers, at label positions only.

TRL's DPOTrainer and CPOTrainer tokenize text by themselves and score every position; here the rows
are ids already (the same as for SFT), in passes of bounded size, with one way to resume and save.
Tests compare loss and gradients with theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.data import Sampler

from adapters.console import progress
from training.fit.batches import LengthGrouped
from training.fit.trainer import LabelTrainer
from training.objective import Dpo, PreferenceObjective
from training.objectives.label_hidden import give_label_hidden, head_of, labels_of
from training.objectives.log_probabilities import log_probabilities
from training.objectives.preference_batch import COLUMNS, REFERENCE


@dataclass(frozen=True)
class Scored:
    """The loss of P pairs; of each, its reward margin, and whether the chosen is the likelier."""

    loss: Tensor
    margins: Tensor
    preferred: Tensor


class PreferenceTrainer(LabelTrainer):
    """LabelTrainer on pairs; what training starts from is the reference of DPO."""

    rows_together = 2
    loss_is_scaled_for_ga: Any = True

    def __init__(self, *, objective: PreferenceObjective, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._objective = objective
        self._signature_columns: Any = list(COLUMNS)
        give_label_hidden(self.adapted.base)
        if isinstance(objective, Dpo):
            self.train_dataset = self._with_reference(self.train_dataset)
            if self.eval_dataset is not None:
                self.eval_dataset = self._with_reference(self.eval_dataset)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return what these pairs add to the loss: means over the pairs of a batch, as TRL's."""
        scored = self._score(model, inputs)
        metrics = self._metrics["train"]
        metrics["rewards/margins"].append(float(scored.margins.mean()))
        metrics["rewards/accuracies"].append(float((scored.margins > 0).float().mean()))
        return scored.loss / getattr(self, "current_gradient_accumulation_steps", 1)

    def _measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Return the loss per pair, the mean reward margin, and two shares of pairs.

        `rewards/accuracies` counts pairs whose chosen side has gained more than the rejected one
        since the start (TRL's name), `preferred` those whose chosen side is the likelier.
        """
        pairs = 0
        loss, margin, gained, preferred = 0.0, 0.0, 0, 0
        for batch in batches:
            here = len(batch["input_ids"]) // 2
            pairs += here
            for part in self._passes(batch):
                inputs = self._prepare_inputs(part)
                with torch.inference_mode(), self.compute_loss_context_manager():
                    scored = self._score(self.adapted.model, inputs)
                loss += float(scored.loss) * here
                margin += float(scored.margins.sum())
                gained += int((scored.margins > 0).sum())
                preferred += int(scored.preferred.sum())
        return {
            "loss": loss / pairs,
            "rewards/margins": margin / pairs,
            "rewards/accuracies": gained / pairs,
            "preferred": preferred / pairs,
        }

    def _score(self, model: Any, inputs: dict[str, Any]) -> Scored:
        logps_R = self._row_logps(model, inputs)
        rewards_R = self._objective.beta * (logps_R - inputs["reference"])
        margins_P = rewards_R[0::2] - rewards_R[1::2]
        loss = -(inputs["share"][0::2] * logsigmoid(margins_P)).sum()
        if self._objective.nll_weight:
            loss = loss - self._objective.nll_weight * (inputs["token_share"] * logps_R).sum()
        return Scored(loss, margins_P.detach(), logps_R[0::2] > logps_R[1::2])

    def _row_logps(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Return the log-probability of each row's labels, (R,)."""
        labels_RT = inputs["labels"]
        labels_N, rows_N = labels_of(labels_RT)
        hidden_ND = model(input_ids=inputs["input_ids"], labels=labels_RT, label_hidden=True)
        logps_N = log_probabilities(hidden_ND, head_of(self.adapted.base), labels_N)
        return torch.zeros(len(labels_RT), device=logps_N.device).index_add(0, rows_N, logps_N)

    def _with_reference(self, pairs: Any) -> Dataset:
        """Return the pairs with the log-probabilities that both sides have before training."""
        lengths = _lengths(pairs)
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        columns: dict[str, list[float]] = {name: [0.0] * len(order) for name in REFERENCE}
        size = self.args.per_device_eval_batch_size
        self.adapted.model.eval()
        with progress("fit: reference", total=len(order)) as advance:
            for start in range(0, len(order), size):
                numbers = order[start : start + size]
                found = self._reference_logps([pairs[number] for number in numbers])
                for number, chosen, rejected in zip(numbers, found[0::2], found[1::2], strict=True):
                    columns["reference_chosen"][number] = chosen
                    columns["reference_rejected"][number] = rejected
                advance(len(numbers))
        self.adapted.model.train()
        kept = pairs.remove_columns(list(REFERENCE))
        for name, values in columns.items():
            kept = kept.add_column(name, values)
        return kept

    def _reference_logps(self, examples: list[dict[str, Any]]) -> list[float]:
        found: list[float] = []
        collate: Any = self.data_collator
        for part in self._passes(collate(examples)):
            inputs = self._prepare_inputs(part)
            # Before training the model's own forward is not under autocast yet.
            with torch.no_grad(), self.accelerator.autocast():
                found += self._row_logps(self.adapted.model, inputs).tolist()
        return found

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        pairs: Any = self.train_dataset if train_dataset is None else train_dataset
        size, seed = self.args.train_batch_size, self.args.seed
        return LengthGrouped(_lengths(pairs), size, seed=seed, stages=self.stages)


def _lengths(pairs: Any) -> list[int]:
    sides = zip(pairs["input_ids"], pairs["rejected_ids"], strict=True)
    return [max(len(chosen), len(rejected)) for chosen, rejected in sides]
