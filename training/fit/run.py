"""fit: encoded segments and a base model in, a trained adapter's folder out."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datasets.utils.logging import disable_progress_bar
from peft import PeftModel
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from adapters.errors import TrainingFailed
from adapters.manifest import Conversion
from training.fit import checkpoints, ranks
from training.fit.callbacks import Meter, Stop, series, stop_on_interrupt
from training.fit.checkpointed import Checkpointed
from training.fit.dev_chrf import DevChrf
from training.fit.dev_texts import DevTexts
from training.fit.early_stopping import KeepBest
from training.fit.handover import hand_over
from training.fit.log import Record
from training.fit.refusal import refuse
from training.fit.result import FitResult, OnProgress
from training.fit.schedule import Schedule
from training.fit.setup import Setup, plain
from training.fit.snapshots import Snapshots
from training.methods.adalora import MoveRanks
from training.methods.attach import Adapted
from training.methods.config import AdaLoraMethod, Method
from training.methods.save import target_modules
from training.objective import Objective, PreferenceObjective, Sft
from training.run_log import RunLog
from training.seq2seq.encode import EncodedPair
from training.seq2seq.family import family_of

if TYPE_CHECKING:
    from training.objectives.trainer_for import Rows

_SFT: Final = Sft()
_PACKAGES: Final = ("torch", "transformers", "peft", "trl")
# oneDNN keeps what it compiled for a shape of product, half a MB each and 1,024 of them. Packed
# rows rarely have a length twice: what one pass needs again, layer by layer, is a tenth of that.
_COMPILED_SHAPES: Final = "128"


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
    stages: Sequence[int] = (),
    dev_texts: DevTexts | None = None,
    on_progress: OnProgress | None = None,
) -> FitResult:
    """Train on `train` and write what came of it to `out/adapter`; checkpoints and logs beside it.

    Where that is a LoRA in place of what was trained, `out/trained` is the latter as PEFT saves it.

    Rows are Encoded, EncodedPreference where the objective compares two translations, EncodedPair
    where the base is a sequence-to-sequence one. `start` is the folder of an adapter to go on
    from. With `resume`, goes on from the last whole checkpoint there; without, starts anew. Asks
    no network. The base stays frozen in its own precision, the adapter is trained in float32 and
    saved in the base's precision: servers cast it to that anyway, so what is evaluated is what is
    served. `dev_texts` are translated where early stopping goes by chrF++. `stages` are numbers of
    rows of `train`, learnt one after another; without, all are shuffled. Of several processes
    (training/fit/ranks.py) the first writes; all return what was measured.
    Raises TrainingFailed; KeyboardInterrupt after Ctrl-C, once a checkpoint is written.
    """
    _check(train, dev, schedule, dev_texts)
    log = RunLog(out if ranks.rank() == 0 else None)
    this = Setup(base, method, schedule, out, seed, objective, start, log)
    refuse(schedule, objective, family_of(base))
    _quiet()
    # oneDNN reads it at its first product.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _COMPILED_SHAPES)
    checkpoint = _checkpoint(this.checkpoints, resume=resume)
    trainer = this.trainer(train, dev)
    # Whether preferences are learnt is told against the share that was right before.
    trainer.args.eval_on_start = (
        bool(dev) and checkpoint is None and isinstance(objective, PreferenceObjective)
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    meter, stop = Meter(on_progress), Stop(schedule.max_seconds)
    for callback in (meter, stop, Record(log)):
        trainer.add_callback(callback)
    trainer.stages = tuple(stages)
    snapshots = _keep(this, trainer, dev_texts)
    if checkpoint is not None:
        checkpoints.restore(checkpoint, trainer.kept)
        log.note(f"fit: goes on after step {checkpoint.name.rpartition('-')[2]}")
    started = time.monotonic()
    with stop_on_interrupt(stop):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.monotonic() - started
    _check_finite(trainer.adapted)
    conversion: Conversion | None = None
    if ranks.rank() == 0:
        _take(trainer, snapshots)
        _, conversion = hand_over(trainer.adapted, method, base, out, plain(dev or train))
    conversion = ranks.from_first(conversion)  # the folder is there in every process
    state, guard = trainer.state, trainer.guard
    return FitResult(
        adapter_folder=out / "adapter",
        seconds=seconds,
        steps=state.global_step,
        tokens=int(state.num_input_tokens_seen),
        tok_s=meter.tok_s,
        losses=series(state, "loss"),
        dev_losses=series(state, "eval_loss"),
        trainable_parameters=sum(p.numel() for p in trainer.adapted.trainable().values()),
        target_modules=target_modules(out / "adapter"),
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        conversion=conversion,
        preferences=_preferences(state.log_history),
        dev_chrf=series(state, "eval_chrf"),
        kept_steps=snapshots.steps if snapshots else (),
        skipped=guard.skipped,
        spikes=tuple(guard.spikes),
    )


def _check(
    train: Sequence[object],
    dev: Sequence[object],
    schedule: Schedule,
    dev_texts: DevTexts | None,
) -> None:
    if not train:
        raise TrainingFailed("no segment to train on is left; see the data report (`data inspect`)")
    rule = schedule.early_stopping
    if rule is not None and (not dev or (rule.metric == "chrf" and dev_texts is None)):
        raise TrainingFailed(
            "schedule.early_stopping measures on dev, which has no segment; "
            "raise split.dev, or leave early_stopping out"
        )


def _checkpoint(folder: Path, *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, the same in every process."""
    found: Path | None = None
    if ranks.rank() == 0:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        found = checkpoints.newest(folder, remove_broken=True)
    return ranks.from_first(found)


def _keep(this: Setup, trainer: Checkpointed, dev_texts: DevTexts | None) -> Snapshots | None:
    """Let the trainer keep what the method and the schedule ask for."""
    adapted, rule = trainer.adapted, this.schedule.early_stopping
    if isinstance(adapted.model, PeftModel) and isinstance(this.method, AdaLoraMethod):
        trainer.keep("adalora", MoveRanks(adapted.model))
    count = this.schedule.average_checkpoints
    if rule is None and count == 1:
        return None
    snapshots = Snapshots(this.checkpoints / "snapshots", count, writes=ranks.rank() == 0)
    trainer.kept["snapshots"] = snapshots
    if rule is None:
        trainer.last_snapshots = snapshots
        return snapshots
    trainer.keep("early_stopping", KeepBest(adapted, snapshots, rule, this.log))
    if rule.metric == "chrf" and dev_texts is not None:
        trainer.dev_chrf = DevChrf(adapted, dev_texts)
    return snapshots


def _take(trainer: Checkpointed, snapshots: Snapshots | None) -> None:
    if snapshots is None or not snapshots.steps:
        return
    checkpoints.assign(trainer.adapted.trainable(), snapshots.mean())
    if isinstance(ranks_moved := trainer.kept.get("adalora"), MoveRanks):
        ranks_moved.follow_weights()


def _preferences(history: Sequence[dict[str, float]]) -> tuple[tuple[int, float, float], ...]:
    # The trainer's own history goes along with its checkpoints, so it begins at the first step.
    return tuple(
        (int(entry["step"]), entry["eval_preferred"], entry["eval_rewards/margins"])
        for entry in history
        if "eval_preferred" in entry
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
