"""fit: encoded segments and a base model in, a trained adapter's folder out."""

from __future__ import annotations

import importlib.metadata
import math
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
from transformers.utils import logging
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from adapters.errors import TrainingFailed
from training.encode import Encoded
from training.fit import checkpoints, ranks
from training.fit.arguments import arguments_of
from training.fit.callbacks import Meter, Stop, series, stop_on_interrupt
from training.fit.dev_chrf import DevChrf
from training.fit.dev_texts import DevTexts
from training.fit.early_stopping import KeepBest
from training.fit.guard import Guard
from training.fit.log import Record
from training.fit.result import FitResult, OnProgress
from training.fit.schedule import Schedule
from training.fit.snapshots import Snapshots
from training.fit.trainer import LabelTrainer
from training.methods.adalora import MoveRanks
from training.methods.attach import Adapted, attach, load_base
from training.methods.config import AdaLoraMethod, Method, PrefixMethod, PromptMethod
from training.methods.save import save, target_modules
from training.run_log import RunLog

_PACKAGES: Final = ("torch", "transformers", "peft", "trl")
# CorDA's covariances settle with a few thousand tokens on models of this size.
_CALIBRATION_ROWS: Final = 256


@dataclass(frozen=True)
class _Run:
    base: Path
    method: Method
    schedule: Schedule
    out: Path
    seed: int
    log: RunLog

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
    dev_texts: DevTexts | None = None,
    on_progress: OnProgress | None = None,
) -> FitResult:
    """Train on `train` and write what came of it to `out/adapter`; checkpoints and logs beside it.

    With `resume`, goes on from the last whole checkpoint there; without, starts anew. Asks no
    network. The base stays frozen in its own precision, the adapter is trained in float32 and
    saved in the base's precision: servers cast it to that anyway, so what is evaluated is what is
    served. `dev_texts` are translated where early stopping goes by chrF++. Of several processes
    (training/fit/ranks.py) the first writes; all return what was measured.
    Raises TrainingFailed; KeyboardInterrupt after Ctrl-C, once a checkpoint is written.
    """
    _check(train, dev, method, schedule, dev_texts)
    log = RunLog(out if ranks.rank() == 0 else None)
    run = _Run(base, method, schedule, out, seed, log)
    _quiet()
    if not resume and ranks.rank() == 0:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    found = checkpoints.newest(run.checkpoints, remove_broken=True) if ranks.rank() == 0 else None
    checkpoint: Path | None = ranks.from_first(found)
    meter, stop = Meter(on_progress), Stop(schedule.max_seconds)
    trainer = _trainer(run, train, dev)
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    for callback in (meter, stop, Record(log)):
        trainer.add_callback(callback)
    snapshots = _keep(run, trainer, dev_texts)
    if checkpoint is not None:
        checkpoints.restore(checkpoint, trainer.kept)
        log.note(f"fit: goes on after step {checkpoint.name.rpartition('-')[2]}")
    started = time.monotonic()
    with stop_on_interrupt(stop):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.monotonic() - started
    _check_finite(trainer.adapted)
    if ranks.rank() == 0:
        _take(trainer, snapshots)
        save(trainer.adapted, base, out / "adapter")
    ranks.gather(None)  # the folder is there in every process
    guard: Guard = trainer.guard
    return FitResult(
        adapter_folder=out / "adapter",
        seconds=seconds,
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        tok_s=meter.tok_s,
        losses=series(trainer.state, "loss"),
        dev_losses=series(trainer.state, "eval_loss"),
        trainable_parameters=sum(p.numel() for p in trainer.adapted.trainable().values()),
        target_modules=target_modules(out / "adapter"),
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        dev_chrf=series(trainer.state, "eval_chrf"),
        kept_steps=snapshots.steps if snapshots else (),
        skipped=guard.skipped,
        spikes=tuple(guard.spikes),
    )


def _check(
    train: Sequence[Encoded],
    dev: Sequence[Encoded],
    method: Method,
    schedule: Schedule,
    dev_texts: DevTexts | None,
) -> None:
    if not train:
        raise TrainingFailed("no segment to train on is left; see the data report (`data inspect`)")
    rule = schedule.early_stopping
    if rule is None:
        return
    if not dev or (rule.metric == "chrf" and dev_texts is None):
        raise TrainingFailed(
            "schedule.early_stopping measures on dev, which has no segment; "
            "raise split.dev, or leave early_stopping out"
        )
    if rule.metric == "chrf" and isinstance(method, PrefixMethod | PromptMethod):
        raise TrainingFailed(
            f"schedule.early_stopping.metric: chrf cannot decode with {method.kind}; use loss"
        )


def _trainer(run: _Run, train: Sequence[Encoded], dev: Sequence[Encoded]) -> LabelTrainer:
    model = load_base(run.base, run.method)
    pad = model.config.get_text_config().pad_token_id
    pad = 0 if pad is None else pad
    bf16 = model.dtype is torch.bfloat16
    torch.manual_seed(run.seed)  # what is attached begins at random
    adapted = attach(
        model,
        run.method,
        steps=_steps(run.schedule, len(train)),
        calibrate=lambda body: _calibrate(body, train),
    )
    advice = (
        f"lower schedule.learning_rate, found {run.schedule.learning_rate:g}; "
        f"the last good checkpoint is kept in {run.checkpoints}"
    )
    return LabelTrainer(
        adapted=adapted,
        args=arguments_of(
            run.schedule,
            run.checkpoints,
            seed=run.seed,
            bf16=bf16,
            eval_strategy="steps" if dev else "no",
        ),
        tokens_per_pass=run.schedule.tokens_per_pass,
        guard=Guard(run.log.note, advice=advice),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=pad),
        train_dataset=_dataset(_shared(train)),
        eval_dataset=_dataset(sorted(dev, key=len)) if dev else None,
        # TRL asks for a tokenizer; the rows are ids already, and checkpoints need no copy of it.
        processing_class=PreTrainedTokenizerFast(tokenizer_file=str(run.base / "tokenizer.json")),
    )


def _keep(run: _Run, trainer: LabelTrainer, dev_texts: DevTexts | None) -> Snapshots | None:
    """Let the trainer keep what the method and the schedule ask for."""
    model, rule = trainer.adapted.model, run.schedule.early_stopping
    if isinstance(model, PeftModel) and isinstance(run.method, AdaLoraMethod):
        trainer.keep("adalora", MoveRanks(model))
    if rule is None and run.schedule.average_checkpoints == 1:
        return None
    snapshots = Snapshots(
        run.checkpoints / "snapshots",
        run.schedule.average_checkpoints,
        writes=ranks.rank() == 0,
    )
    trainer.kept["snapshots"] = snapshots
    if rule is None:
        trainer.last_snapshots = snapshots
        return snapshots
    trainer.keep("early_stopping", KeepBest(trainer.adapted, snapshots, rule, run.log))
    if rule.metric == "chrf" and dev_texts is not None:
        trainer.dev_chrf = DevChrf(model, dev_texts)
    return snapshots


def _take(trainer: LabelTrainer, snapshots: Snapshots | None) -> None:
    if snapshots is None or not snapshots.steps:
        return
    checkpoints.assign(trainer.adapted.trainable(), snapshots.mean())
    if isinstance(ranks_moved := trainer.kept.get("adalora"), MoveRanks):
        ranks_moved.follow_weights()


def _steps(schedule: Schedule, rows: int) -> int:
    a_step = schedule.batch_size * schedule.gradient_accumulation
    steps = math.ceil(math.ceil(rows / a_step) * schedule.epochs)
    return min(steps, schedule.max_steps or steps)


def _calibrate(model: torch.nn.Module, train: Sequence[Encoded]) -> None:
    with torch.no_grad():
        for row in train[:_CALIBRATION_ROWS]:  # one by one: PEFT's hooks expect it
            model(input_ids=torch.tensor([row.input_ids], device=next(model.parameters()).device))


def _shared(train: Sequence[Encoded]) -> Sequence[Encoded]:
    # The last batch may have no row for a process: it gets this one, which has no label.
    blank = Encoded(train[0].prompt_ids[:2], ())
    return train if ranks.count() == 1 else [*train, blank]


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
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
