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
from typing import TYPE_CHECKING, Any, Final

import torch
from datasets.utils.logging import disable_progress_bar
from peft import PeftModel
from transformers import PreTrainedTokenizerFast, PrinterCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging
from trl import SFTConfig

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
from training.methods.start import load_start
from training.objective import Objective, PreferenceObjective, Sft
from training.objectives.encoded_preference import EncodedPreference
from training.objectives.trainer_for import Rows, trainer_for
from training.seq2seq.encode import EncodedPair
from training.seq2seq.family import family_of

if TYPE_CHECKING:
    from training.seq2seq.trainer import PairTrainer

_SFT: Final = Sft()
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
    objective: Objective
    start: Path | None

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"


def fit(  # noqa: PLR0913, PLR0917 - what a recipe's fit consists of, in its order
    train: Rows | Sequence[EncodedPair],
    dev: Rows | Sequence[EncodedPair],
    base: Path,
    method: Method,
    schedule: Schedule,
    out: Path,
    *,
    objective: Objective = _SFT,
    start: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> FitResult:
    """Train on `train` and write what came of it to `out/adapter`; checkpoints beside it.

    Where that is a LoRA in place of what was trained, `out/trained` is the latter as PEFT saves it.

    Rows are Encoded, EncodedPreference where the objective compares two translations, EncodedPair
    where the base is a sequence-to-sequence one. `start` is the folder of an adapter to go on
    from. With `resume`, goes on from the last checkpoint there; without, starts anew. Asks no
    network. The base stays frozen in its own precision, the adapter is trained in float32 and
    saved in the base's precision: servers cast it to that anyway, so what is evaluated is what is
    served.
    Raises TrainingFailed; KeyboardInterrupt after Ctrl-C, once a checkpoint is written.
    """
    if not train:
        raise TrainingFailed("no segment to train on is left; see the data report (`data inspect`)")
    run = _Run(base, method, schedule, out, seed, objective, start)
    _quiet()
    if not resume:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    checkpoint = get_last_checkpoint(str(run.checkpoints)) if run.checkpoints.is_dir() else None
    meter, stop = Meter(on_progress), Stop(schedule.max_seconds)
    is_causal = family_of(base) is None
    trainer = _trainer(run, train, dev) if is_causal else _pairs(run, train, dev)
    # Whether preferences are learnt is told against the share that was right before.
    trainer.args.eval_on_start = (
        bool(dev) and checkpoint is None and isinstance(objective, PreferenceObjective)
    )
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
    folder, conversion = hand_over(trainer.adapted, method, base, out, _plain(dev or train))
    return FitResult(
        adapter_folder=folder,
        seconds=seconds,
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        tok_s=meter.tok_s,
        losses=tuple(meter.losses),
        dev_losses=tuple(meter.dev_losses),
        preferences=_preferences(trainer.state.log_history),
        trainable_parameters=sum(p.numel() for p in trainer.adapted.trainable().values()),
        target_modules=target_modules(folder),
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        conversion=conversion,
    )


def _trainer(run: _Run, train: Any, dev: Any) -> LabelTrainer:
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
    if run.start is not None:
        load_start(adapted, run.start)
    return trainer_for(
        run.objective,
        train,
        sorted(dev, key=len),
        pad=pad,
        adapted=adapted,
        args=_arguments(run, numerics, evaluate=bool(dev)),
        tokens_per_pass=run.schedule.tokens_per_pass,
        # TRL asks for a tokenizer; the rows are ids already, and checkpoints need no copy of it.
        processing_class=PreTrainedTokenizerFast(tokenizer_file=str(run.base / "tokenizer.json")),
    )


def _numerics(run: _Run) -> Numerics:
    config = read_config(run.base)
    said = (c.get(k) for c in (config, config.get("text_config") or {}) for k in _DTYPE_KEYS)
    own = next(filter(None, said), "float32")
    return numerics_of(run.schedule, own, gpu=torch.cuda.is_available(), say=note)


def _pairs(run: _Run, train: Any, dev: Any) -> PairTrainer:
    from training.seq2seq.load import load_pair_model
    from training.seq2seq.trainer import PairCollator, PairTrainer, calibrate

    model = load_pair_model(run.base, run.method)
    torch.manual_seed(run.seed)
    adapted = attach(
        model,
        run.method,
        steps=run.schedule.steps(len(train)),
        calibrate=lambda body: calibrate(body, train[:_CALIBRATION_ROWS], model.config),
        task="SEQ_2_SEQ_LM",
    )
    return PairTrainer(
        adapted=adapted,
        args=_arguments(run, _numerics(run), evaluate=bool(dev)),
        tokens_per_pass=run.schedule.tokens_per_pass,
        data_collator=PairCollator(model.config),
        train_dataset=train,
        eval_dataset=sorted(dev, key=len) if dev else None,
    )


def _preferences(history: Sequence[dict[str, float]]) -> tuple[tuple[int, float, float], ...]:
    # The trainer's own history goes along with its checkpoints, so it begins at the first step.
    return tuple(
        (int(entry["step"]), entry["eval_preferred"], entry["eval_rewards/margins"])
        for entry in history
        if "eval_preferred" in entry
    )


def _plain(rows: Any) -> list[Encoded]:
    """Return what a causal model can be asked; nothing for sequence-to-sequence ones."""
    chosen = (row.chosen if isinstance(row, EncodedPreference) else row for row in rows)
    return [row for row in chosen if isinstance(row, Encoded)]


def _calibrate(model: torch.nn.Module, train: Any) -> None:
    with torch.no_grad():
        for row in _plain(train[:_CALIBRATION_ROWS]):  # one by one: PEFT's hooks expect it
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
