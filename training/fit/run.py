"""fit: encoded segments and a base model in, a trained adapter's folder out."""

from __future__ import annotations

import importlib.metadata
import logging
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import PeftModel
from transformers import PreTrainedTokenizerFast, PrinterCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging
from trl import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from adapters.base_model import read_config
from adapters.console import note
from adapters.errors import TrainingFailed
from training.encode import Encoded
from training.fit.callbacks import Meter, Stop, stop_on_interrupt
from training.fit.handover import hand_over
from training.fit.numerics import Numerics, numerics_of
from training.fit.result import FitResult, OnProgress
from training.fit.schedule import Schedule
from training.fit.trainer import LabelTrainer
from training.methods.adalora import MoveRanks
from training.methods.attach import Adapted, attach, load_base
from training.methods.config import AdaLoraMethod, Method
from training.methods.rates import learning_rate_of
from training.methods.save import target_modules

_PACKAGES: Final = ("torch", "transformers", "peft", "trl")
# CorDA's covariances settle with a few thousand tokens on models of this size.
_CALIBRATION_ROWS: Final = 256
_DTYPE_KEYS: Final = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class _Run:
    base: Path
    method: Method
    schedule: Schedule
    out: Path
    seed: int

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"


def fit(  # noqa: PLR0913, PLR0917 - what a recipe's fit consists of, in its order
    train: Sequence[Encoded],
    dev: Sequence[Encoded],
    base: Path,
    method: Method,
    schedule: Schedule,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> FitResult:
    """Train on `train` and write what came of it to `out/adapter`; checkpoints beside it.

    Where that is a LoRA in place of what was trained, `out/trained` is the latter as PEFT saves it.

    With `resume`, goes on from the last checkpoint there; without, starts anew. Asks no network.
    The base stays frozen in its own precision, the adapter is trained in float32 and saved in
    the base's precision: servers cast it to that anyway, so what is evaluated is what is served.
    Raises TrainingFailed; KeyboardInterrupt after Ctrl-C, once a checkpoint is written.
    """
    if not train:
        raise TrainingFailed("no segment to train on is left; see the data report (`data inspect`)")
    run = _Run(base, method, schedule, out, seed)
    _quiet()
    if not resume:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    checkpoint = get_last_checkpoint(str(run.checkpoints)) if run.checkpoints.is_dir() else None
    meter, stop = Meter(on_progress), Stop(schedule.max_seconds)
    trainer = _trainer(run, train, dev)
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    trainer.add_callback(meter)
    trainer.add_callback(stop)
    if isinstance(trainer.adapted.model, PeftModel) and isinstance(method, AdaLoraMethod):
        trainer.add_callback(MoveRanks(trainer.adapted.model))
    started = time.monotonic()
    with stop_on_interrupt(stop):
        trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    _check_finite(trainer.adapted)
    folder, conversion = hand_over(trainer.adapted, method, base, out, dev or train)
    return FitResult(
        adapter_folder=folder,
        seconds=seconds,
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        tok_s=meter.tok_s,
        losses=tuple(meter.losses),
        dev_losses=tuple(meter.dev_losses),
        trainable_parameters=sum(p.numel() for p in trainer.adapted.trainable().values()),
        target_modules=target_modules(folder),
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        conversion=conversion,
    )


def _trainer(run: _Run, train: Sequence[Encoded], dev: Sequence[Encoded]) -> LabelTrainer:
    numerics = _numerics(run)
    model = load_base(run.base, run.method, dtype=numerics.dtype)
    pad = model.config.get_text_config().pad_token_id
    pad = 0 if pad is None else pad
    torch.manual_seed(run.seed)  # what is attached begins at random
    adapted = attach(
        model,
        run.method,
        steps=run.schedule.steps(len(train)),
        calibrate=lambda body: _calibrate(body, train),
    )
    return LabelTrainer(
        adapted=adapted,
        args=_arguments(run, numerics, evaluate=bool(dev)),
        tokens_per_pass=run.schedule.tokens_per_pass,
        data_collator=DataCollatorForLanguageModeling(pad_token_id=pad),
        train_dataset=_dataset(train),
        eval_dataset=_dataset(sorted(dev, key=len)) if dev else None,
        # TRL asks for a tokenizer; the rows are ids already, and checkpoints need no copy of it.
        processing_class=PreTrainedTokenizerFast(tokenizer_file=str(run.base / "tokenizer.json")),
    )


def _numerics(run: _Run) -> Numerics:
    config = read_config(run.base)
    said = (c.get(k) for c in (config, config.get("text_config") or {}) for k in _DTYPE_KEYS)
    own = next(filter(None, said), "float32")
    return numerics_of(run.schedule, own, gpu=torch.cuda.is_available(), say=note)


def _calibrate(model: torch.nn.Module, train: Sequence[Encoded]) -> None:
    with torch.no_grad():
        for row in train[:_CALIBRATION_ROWS]:  # one by one: PEFT's hooks expect it
            model(input_ids=torch.tensor([row.input_ids], device=next(model.parameters()).device))


def _arguments(run: _Run, numerics: Numerics, *, evaluate: bool) -> SFTConfig:
    schedule = run.schedule
    return SFTConfig(
        output_dir=str(run.checkpoints),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.max_steps or -1,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.gradient_accumulation,
        learning_rate=float(schedule.learning_rate or learning_rate_of(run.method)),
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
        eval_strategy="steps" if evaluate else "no",
        eval_steps=schedule.evaluate_every,
        save_strategy="steps",
        save_steps=schedule.save_every,
        save_total_limit=2,
        logging_steps=5,
        disable_tqdm=True,
        report_to="none",
        push_to_hub=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=run.seed,
    )


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
    )


def _check_finite(adapted: Adapted) -> None:
    broken = [name for name, p in adapted.trainable().items() if not p.isfinite().all().item()]
    if broken:
        raise TrainingFailed(
            f"{len(broken)} adapter tensors are not finite, {broken[0]} first; "
            "lower schedule.learning_rate"
        )


def _quiet() -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # It warns of kernels for 4-bit weights on a CPU that are not there, and of each cast to fp16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    disable_progress_bar()
