"""TRL's SFT trainer for rows of ids: loss at label positions, exact dev loss, nothing but ids."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from trl import SFTTrainer

from adapters.errors import TrainingFailed
from training.encode import IGNORED
from training.fit import checkpoints, ranks
from training.fit.batches import LengthGrouped
from training.fit.checkpoints import Kept
from training.fit.guard import Guard
from training.fit.label_loss import can_score_labels_only, score_labels_only
from training.fit.snapshots import Snapshots
from training.methods.attach import Adapted


class LabelTrainer(SFTTrainer):
    """SFTTrainer that scores label positions only where TRL would score all of them (the CPU).

    `kept` is what checkpoints hold beside weights, optimizer and random numbers; `dev_chrf`
    measures translations wherever the loss on dev is measured; `last_snapshots`, if any, gets the
    weights of every checkpoint.
    """

    def __init__(
        self, *, adapted: Adapted, tokens_per_pass: int, guard: Guard, **kwargs: Any
    ) -> None:
        super().__init__(model=adapted.model, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise TrainingFailed(
                "the accelerate configuration shards the model (FSDP or DeepSpeed), and what is "
                "trained is saved from whole tensors; use distributed_type: MULTI_GPU or MULTI_CPU"
            )
        self.adapted = adapted
        self.kept: dict[str, Kept] = {"guard": guard}
        self.dev_chrf: Callable[[], float] | None = None
        self.last_snapshots: Snapshots | None = None
        self.guard = guard
        self._step_loss = torch.zeros(())
        self._tokens_per_pass = tokens_per_pass
        if self.args.bf16:
            _leave_inputs_alone(adapted.model)
        self._labels_only = can_score_labels_only(adapted.base)
        if self._labels_only:
            score_labels_only(adapted.base)

    def keep(self, name: str, callback: Any) -> None:
        """Add a callback whose state belongs into checkpoints."""
        self.kept[name] = callback
        self.add_callback(callback)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Run a batch in passes of bounded size; the gradients add up to those of one pass."""
        count = num_items_in_batch
        count = _label_count(inputs["labels"]) if count is None else count
        loss = torch.zeros((), device=self.args.device)
        parts = list(self._passes(inputs))
        for number, part in enumerate(parts, start=1):
            # Processes may differ in their number of passes: gradients meet in the last one.
            last = number == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss += super().training_step(model, part, count)  # type: ignore[no-untyped-call]
        self._step_loss = self._step_loss.to(loss.device) + loss
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
        model = self.adapted.model.eval()
        own_total, own_tokens = 0.0, 0
        for batch in self._dev_batches():
            own_tokens += _label_count(batch["labels"])
            for part in self._passes(batch):
                inputs = self._prepare_inputs(part)
                with torch.inference_mode(), self.compute_loss_context_manager():
                    loss = self.compute_loss(model, inputs, num_items_in_batch=ranks.count())
                    own_total += float(loss)
        totals, tokens = zip(*ranks.gather((own_total, own_tokens)), strict=True)
        metrics = {f"{metric_key_prefix}_loss": sum(totals) / max(sum(tokens), 1)}
        if self.dev_chrf is not None:
            metrics[f"{metric_key_prefix}_chrf"] = self.dev_chrf()
        model.train()
        self.log(metrics)
        handler: Any = self.callback_handler  # clears should_evaluate
        self.control = handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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
        rows = max(1, self._tokens_per_pass // width)
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
        )

    def _dev_batches(self) -> Iterator[dict[str, Any]]:
        rows: Any = self.eval_dataset
        own = range(ranks.rank(), len(rows), ranks.count())
        size = self.args.per_device_eval_batch_size
        for start in range(0, len(own), size):
            yield self.data_collator([rows[i] for i in own[start : start + size]])

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        # The same in every process, so that all of them leave a step out.
        loss = sum(ranks.gather(float(self._step_loss))) / ranks.count()
        self._step_loss = torch.zeros(())
        if not self.guard.accepts(self.state.global_step + 1, loss, float(norm)):
            model.zero_grad(set_to_none=True)  # the optimizer passes over what has no gradient
        return norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self._is_finite():
            return  # the checkpoint before is the last good one
        super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
        if self.last_snapshots is not None:
            self.last_snapshots.offer(self.state.global_step, self.adapted.trainable())
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            checkpoints.finish(folder, self.kept)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if output_dir is not None:
            checkpoints.write_weights(self.adapted.trainable(), Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.read_weights(self.adapted.trainable(), Path(resume_from_checkpoint))

    def _is_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.adapted.trainable().values())


def _leave_inputs_alone(model: torch.nn.Module) -> None:
    # PEFT casts every input of an adapted module to the adapter's float32. Under autocast the
    # adapter's small matrices are cast instead: a tenth faster, and no float32 copies are kept.
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def _label_count(labels_BT: Tensor) -> int:
    return int((labels_BT[:, 1:] != IGNORED).sum())
