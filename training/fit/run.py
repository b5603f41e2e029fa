"""fit: encoded segments and a base model in, a LoRA adapter folder out."""

from __future__ import annotations

import importlib.metadata
import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging
from trl import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from adapters.base_model import read_card
from adapters.errors import TrainingFailed
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.encode import Encoded
from training.fit.callbacks import Meter, Stop, stop_on_interrupt
from training.fit.config import LoraMethod, Schedule
from training.fit.result import FitResult, OnProgress
from training.fit.trainer import LabelTrainer

_PACKAGES: Final = ("torch", "transformers", "peft", "trl")


@dataclass(frozen=True)
class _Run:
    base: Path
    method: LoraMethod
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
    method: LoraMethod,
    schedule: Schedule,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> FitResult:
    """Train a LoRA on `train` and write it to `out/adapter`; checkpoints go to `out/checkpoints`.

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
    started = time.monotonic()
    with stop_on_interrupt(stop):
        trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    _check_finite(trainer.adapted)
    folder = save_adapter(trainer.adapted, base, out / "adapter")
    return FitResult(
        adapter_folder=folder,
        seconds=seconds,
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        tok_s=meter.tok_s,
        losses=tuple(meter.losses),
        dev_losses=tuple(meter.dev_losses),
        trainable_parameters=sum(p.numel() for p in _trainable(trainer.adapted).values()),
        target_modules=tuple(json.loads((folder / CONFIG_FILE).read_text())["target_modules"]),
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def save_adapter(model: PeftModel, base: Path, folder: Path) -> Path:
    """Write adapter_config.json and adapter_model.safetensors, nothing else, whole or not at all.

    The config names the base by its name, not by a path of this machine.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    base_model: Any = model.get_base_model()
    state = {name: p.detach().to(base_model.dtype) for name, p in _trainable(model).items()}
    model.save_pretrained(str(draft), state_dict=state, save_embedding_layers=False)
    config = json.loads((draft / CONFIG_FILE).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(read_card(base).get("name") or base.name)
    config["target_modules"] = _short_names(model, config["target_modules"])
    config["inference_mode"] = True
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (draft / CONFIG_FILE).write_text(text, encoding="utf-8")
    for file in draft.iterdir():
        if file.name not in (CONFIG_FILE, WEIGHTS_FILE):
            file.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder


def _short_names(model: PeftModel, names: Sequence[str]) -> list[str]:
    """Return the last parts of the names, sorted, where they choose the same modules."""
    short = {name.rpartition(".")[2] for name in names}
    left_out = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith(".base_layer")
    }
    return sorted(names if short & left_out else short)


def _trainer(run: _Run, train: Sequence[Encoded], dev: Sequence[Encoded]) -> LabelTrainer:
    model = AutoModelForCausalLM.from_pretrained(run.base, dtype="auto", local_files_only=True)
    pad = model.config.get_text_config().pad_token_id
    return LabelTrainer(
        model=model,
        args=_arguments(run, evaluate=bool(dev), bf16=model.dtype is torch.bfloat16),
        tokens_per_pass=run.schedule.tokens_per_pass,
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0 if pad is None else pad),
        train_dataset=_dataset(train),
        eval_dataset=_dataset(sorted(dev, key=len)) if dev else None,
        # TRL asks for a tokenizer; the rows are ids already, and checkpoints need no copy of it.
        processing_class=PreTrainedTokenizerFast(tokenizer_file=str(run.base / "tokenizer.json")),
        peft_config=_lora(run.method),
    )


def _arguments(run: _Run, *, evaluate: bool, bf16: bool) -> SFTConfig:
    schedule = run.schedule
    return SFTConfig(
        output_dir=str(run.checkpoints),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.max_steps or -1,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.gradient_accumulation,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type=schedule.scheduler,
        warmup_steps=schedule.warmup,  # below 1: a share of all steps
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        gradient_checkpointing=schedule.gradient_checkpointing,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
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


def _lora(method: LoraMethod) -> LoraConfig:
    targets = method.targets
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # annotated int, any number will do
        lora_dropout=method.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=method.rslora,
        bias="none",
    )


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
    )


def _trainable(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _check_finite(model: PeftModel) -> None:
    broken = [name for name, p in _trainable(model).items() if not p.isfinite().all().item()]
    if broken:
        raise TrainingFailed(
            f"{len(broken)} adapter tensors are not finite, {broken[0]} first; "
            "lower schedule.learning_rate"
        )


def _quiet() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
