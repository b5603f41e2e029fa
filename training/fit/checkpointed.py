"""Checkpointed: what every trainer here does between the gradients and the next step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from adapters.errors import TrainingFailed
from training.fit import checkpoints, ranks
from training.fit.checkpoints import Kept
from training.fit.guard import Guard
from training.fit.snapshots import Snapshots
from training.methods.attach import Adapted


class Checkpointed(Trainer):
    """A trainer whose guard judges each step, and whose checkpoints hold all that changes.

    `kept` is what they hold beside weights, optimizer and random numbers; `last_snapshots`, if
    any, gets the weights of every checkpoint; `stages` are the numbers of rows that come one after
    another; `dev_chrf` measures translations wherever the loss
    on dev is measured.
    """

    def __init__(self, *, adapted: Adapted, guard: Guard, **kwargs: Any) -> None:
        super().__init__(model=adapted.model, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise TrainingFailed(
                "the accelerate configuration shards the model (FSDP or DeepSpeed), and what is "
                "trained is saved from whole tensors; use distributed_type: MULTI_GPU or MULTI_CPU"
            )
        self.adapted = adapted
        self.guard = guard
        self.kept: dict[str, Kept] = {"guard": guard}
        self.dev_chrf: Callable[[], float] | None = None
        self.last_snapshots: Snapshots | None = None
        self.stages: tuple[int, ...] = ()
        self._step_loss = torch.zeros(())

    def keep(self, name: str, callback: Any) -> None:
        """Add a callback whose state belongs into checkpoints."""
        self.kept[name] = callback
        self.add_callback(callback)

    def _count_loss(self, loss: Tensor) -> Tensor:
        """Return the loss of a batch, as added to that of its step."""
        self._step_loss = self._step_loss.to(loss.device) + loss
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        # The same in every process, so that all of them leave a step out.
        loss = sum(ranks.gather(float(self._step_loss))) / ranks.count()
        self._step_loss = torch.zeros(())
        # What overflows in fp16 is the scaler's: it leaves the step out and tries a smaller scale.
        judged = 0.0 if self.args.fp16 else float(norm)
        if not self.guard.accepts(self.state.global_step + 1, loss, judged):
            model.zero_grad(set_to_none=True)  # the optimizer passes over what has no gradient
        return norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self._is_finite():
            return  # the checkpoint before is the last good one
        super()._save_checkpoint(model, trial)
        if self.last_snapshots is not None:
            self.last_snapshots.offer(self.state.global_step, self.adapted.trainable())
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            checkpoints.finish(folder, self.kept)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # transformers would write the frozen weights, too: half a gigabyte beside a few megabytes.
        if output_dir is not None:
            checkpoints.write_weights(self.adapted.trainable(), Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.read_weights(self.adapted.trainable(), Path(resume_from_checkpoint))

    def _is_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.adapted.trainable().values())
