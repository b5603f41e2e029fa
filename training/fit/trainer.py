"""TRL's SFT trainer for rows of ids: loss at label positions, exact dev loss, nothing but ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from trl import SFTTrainer

from training.encode import IGNORED
from training.fit import ranks
from training.fit.batches import LengthGrouped
from training.fit.checkpointed import Checkpointed
from training.fit.fused_lora import fuse_lora
from training.fit.fused_norm import fuse_norms
from training.fit.label_loss import can_score_labels_only, score_labels_only
from training.fit.memory import PassSize
from training.methods.attach import Adapted


class LabelTrainer(Checkpointed, SFTTrainer):
    """SFTTrainer that scores label positions only where TRL would score all of them (the CPU)."""

    rows_together = 1  # rows of a batch that one pass must have: two of a preference

    def __init__(self, *, adapted: Adapted, tokens_per_pass: int, **kwargs: Any) -> None:
        super().__init__(adapted=adapted, **kwargs)
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
        loss = self._pass.run(lambda: self._in_passes(model, inputs, count), shape, trained)
        return self._count_loss(loss)

    def _in_passes(self, model: Any, inputs: dict[str, Any], count: Any) -> Tensor:
        loss = torch.zeros((), device=self.args.device)
        parts = list(self._passes(inputs))
        for number, part in enumerate(parts, start=1):
            # Processes may differ in their number of passes: gradients meet in the last one.
            last = number == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss += super().training_step(model, part, count)  # type: ignore[no-untyped-call]
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of the optimizer step's target tokens, of all processes.

        Times the number of processes: DDP takes the mean of their gradients.
        """
        alone = ranks.count() == 1
        if return_outputs or (alone and not self._labels_only):
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        labels_BT = inputs["labels"]
        if self._labels_only:
            loss = model(input_ids=inputs["input_ids"], labels=labels_BT, summed_loss=True)
        else:
            # TRL's own would gather figures in each pass, whose number differs by process.
            loss = -model(**inputs, use_cache=False, fused_lm_head=True).log_probs.sum()
        count = _label_count(labels_BT) if num_items_in_batch is None else num_items_in_batch
        return loss * ranks.count() / max(int(count), 1)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss per target token; the inherited one averages over batches instead."""
        self.adapted.model.eval()
        measured = self._measure(self._dev_batches())
        if self.dev_chrf is not None:
            # Autocast as in training, where accelerate puts it around a forward that decoding goes
            # past: the adapter is float32 on a base that may be bf16.
            with self.accelerator.autocast():
                measured["chrf"] = self.dev_chrf()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        self.log(metrics)
        handler: Any = self.callback_handler  # clears should_evaluate
        self.control = handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.adapted.model.train()
        return metrics

    def _measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Return what is told of dev text, by name; `loss` is one of them."""
        model, own_total, own_tokens = self.adapted.model, 0.0, 0
        for batch in batches:
            own_tokens += _label_count(batch["labels"])
            for part in self._passes(batch):
                inputs = self._prepare_inputs(part)
                with torch.inference_mode(), self.compute_loss_context_manager():
                    loss = self.compute_loss(model, inputs, num_items_in_batch=ranks.count())
                    own_total += float(loss)
        totals, tokens = zip(*ranks.gather((own_total, own_tokens)), strict=True)
        return {"loss": sum(totals) / max(sum(tokens), 1)}

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return batches of this process's rows; accelerate would deal them out once more."""
        if ranks.count() == 1:
            return super().get_train_dataloader()
        rows: Any = self.train_dataset
        loader: DataLoader[Any] = DataLoader(
            rows,
            batch_size=self.args.per_device_train_batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        device = self.accelerator.device
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: the manifest says more, and checkpoints need no prose."""

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
        if ranks.count() > 1:
            lengths.pop()  # the row without labels, with which batches are filled up
        return LengthGrouped(
            lengths,
            self.args.train_batch_size * ranks.count(),
            seed=self.args.seed,
            rank=ranks.rank(),
            ranks=ranks.count(),
            stages=self.stages,
        )

    def _dev_batches(self) -> Iterator[dict[str, Any]]:
        rows: Any = self.eval_dataset
        own = range(ranks.rank(), len(rows), ranks.count())
        size = self.args.per_device_eval_batch_size
        for start in range(0, len(own), size):
            yield self.data_collator([rows[i] for i in own[start : start + size]])


def _leave_inputs_alone(model: torch.nn.Module) -> None:
    # PEFT casts every input of an adapted module to the adapter's float32. Under autocast the
    # adapter's small matrices are cast instead: a tenth faster, and no float32 copies are kept.
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def _label_count(labels_BT: Tensor) -> int:
    return int((labels_BT[:, 1:] != IGNORED).sum())
