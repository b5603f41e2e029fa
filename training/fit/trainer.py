"""TRL's SFT trainer for rows of ids: loss at label positions, exact dev loss, nothing but ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils.data import Sampler
from trl import SFTTrainer

from training.encode import IGNORED
from training.fit.batches import LengthGrouped
from training.fit.checkpoint import load_trained, save_trained
from training.fit.fused_lora import fuse_lora
from training.fit.fused_norm import fuse_norms
from training.fit.label_loss import can_score_labels_only, score_labels_only
from training.fit.memory import PassSize
from training.methods.attach import Adapted


class LabelTrainer(SFTTrainer):
    """SFTTrainer that scores label positions only where TRL would score all of them (the CPU)."""

    rows_together = 1  # rows of a batch that one pass must have: two of a preference

    def __init__(self, *, adapted: Adapted, tokens_per_pass: int, **kwargs: Any) -> None:
        super().__init__(model=adapted.model, **kwargs)
        self.adapted = adapted
        self._pass = PassSize(tokens_per_pass)
        for parameter in adapted.trainable().values():
            # TRL makes those on a quantised base bf16, where steps of 1e-4 are rounded away.
            parameter.data = parameter.data.float()
        if self.args.bf16 or self.args.fp16:
            _leave_inputs_alone(adapted.model)
        self._labels_only = can_score_labels_only(adapted.base)
        if self._labels_only:
            score_labels_only(adapted.base)
        fuse_lora(adapted.model)
        fuse_norms(adapted.model)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Run a batch in passes of bounded size; the gradients add up to those of one pass."""
        count = num_items_in_batch
        count = _label_count(inputs["labels"]) if count is None else count
        trained = self.adapted.trainable().values()
        shape = inputs["input_ids"].shape
        return self._pass.run(lambda: self._in_passes(model, inputs, count), shape, trained)

    def _in_passes(self, model: Any, inputs: dict[str, Any], count: Any) -> Tensor:
        loss = torch.zeros((), device=self.args.device)
        for part in self._passes(inputs):
            loss += super().training_step(model, part, count)  # type: ignore[no-untyped-call]
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of the optimizer step's target tokens."""
        if not self._labels_only or return_outputs:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        labels_BT = inputs["labels"]
        loss = model(input_ids=inputs["input_ids"], labels=labels_BT, summed_loss=True)
        count = _label_count(labels_BT) if num_items_in_batch is None else num_items_in_batch
        return loss / max(int(count), 1)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss per target token; the inherited one averages over batches instead."""
        self.adapted.model.eval()
        measured = self._measure(self.get_eval_dataloader(eval_dataset))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        self.log(metrics)
        handler: Any = self.callback_handler  # clears should_evaluate
        self.control = handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.adapted.model.train()
        return metrics

    def _measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Return what is told of dev text, by name; `loss` is one of them."""
        total, tokens = 0.0, 0
        for batch in batches:
            tokens += _label_count(batch["labels"])
            for part in self._passes(batch):
                inputs = self._prepare_inputs(part)
                with torch.inference_mode(), self.compute_loss_context_manager():
                    loss = self.compute_loss(self.adapted.model, inputs, num_items_in_batch=1)
                    total += float(loss)
        return {"loss": total / max(tokens, 1)}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: the manifest says more, and checkpoints need no prose."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # transformers would write the frozen weights, too: half a gigabyte beside a few megabytes.
        if isinstance(self.adapted.model, PeftModel):
            super()._save(output_dir, state_dict)
        else:
            save_trained(self.adapted, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if isinstance(self.adapted.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_trained(self.adapted, Path(resume_from_checkpoint))

    def _send_telemetry(self) -> None:
        """Send none: training asks no network."""

    def _passes(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Split the rows so that no pass has more positions than allowed (one row at least)."""
        height, width = inputs["input_ids"].shape
        rows = self._pass.rows(width * self.rows_together) * self.rows_together
        for start in range(0, height, rows):
            yield {name: value[start : start + rows] for name, value in inputs.items()}

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in dataset["input_ids"]]
        return LengthGrouped(lengths, self.args.train_batch_size, seed=self.args.seed)


def _leave_inputs_alone(model: torch.nn.Module) -> None:
    # PEFT casts every input of an adapted module to the adapter's float32. Under autocast the
    # adapter's small matrices are cast instead: a tenth faster, and no float32 copies are kept.
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def _label_count(labels_BT: Tensor) -> int:
    return int((labels_BT[:, 1:] != IGNORED).sum())
