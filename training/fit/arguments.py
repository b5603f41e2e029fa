"""A schedule in the words of TRL's and transformers' trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from adapters.errors import TrainingFailed
from training.fit import ranks
from training.fit.numerics import Numerics
from training.fit.schedule import Schedule
from training.methods.config import Method
from training.methods.rates import learning_rate_of

LOGGING_STEPS = 5


def arguments_of(
    schedule: Schedule, folder: Path, *, method: Method, numerics: Numerics, **options: Any
) -> SFTConfig:
    """Return the trainer's arguments; checkpoints go to `folder`."""
    batch_size = per_process(schedule.batch_size)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.max_steps or -1,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        gradient_accumulation_steps=schedule.gradient_accumulation,
        learning_rate=float(schedule.learning_rate or learning_rate_of(method)),
        lr_scheduler_type=schedule.scheduler,
        warmup_steps=schedule.warmup,  # below 1: a share of all steps
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        gradient_checkpointing=schedule.gradient_checkpointing,
        bf16=numerics.precision == "bf16",
        fp16=numerics.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        optim=numerics.optim,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        include_num_input_tokens_seen="non_padding",
        eval_steps=schedule.evaluate_every,
        save_strategy="steps",
        save_steps=schedule.save_every,
        save_total_limit=2,
        logging_steps=LOGGING_STEPS,
        disable_tqdm=True,
        report_to="none",
        push_to_hub=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # all that is trained has a gradient in every pass
        **options,
    )


def per_process(batch_size: int) -> int:
    """Return each process's share of a batch. Raises TrainingFailed if it cannot be shared."""
    share, rest = divmod(batch_size, ranks.count())
    if rest or not share:
        raise TrainingFailed(
            f"schedule.batch_size {batch_size} cannot be shared by {ranks.count()} processes; "
            f"use a multiple of {ranks.count()}"
        )
    return share
