"""A run as one model that needs no base: for CTranslate2 where that knows the architecture."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging

from adapters.base_model import read_config
from adapters.errors import TrainingFailed, UnsupportedAdapter
from adapters.manifest import CONFIG_FILE
from training.methods.load import kind_of
from training.methods.save import BOTTLENECK
from training.translate.note import Engine, ModelNote, Precision
from training.translate.opening import CT2_FOLDER, base_of, weights_of

# By `model_type`; a test converts a random model of each and compares every token. Others
# (GPT-Neo is one that CTranslate2 4.8 does not know) are run by transformers.
CONVERTED: Final = frozenset({"marian", "mbart", "t5", "mt5", "bloom"})
_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.gguf", "*.index.json", "*.md", ".*")


def export(run: Path, out: Path, precision: Precision) -> Engine:
    """Write the model of the run in `run` to the new folder `out`; return what will run it.

    Raises FileMissing, BaseModelNotFound, UnsupportedAdapter, TrainingFailed.
    """
    note = ModelNote.read(run)
    if out.exists() and any(out.iterdir()):
        raise TrainingFailed(f"{out}: is not empty; export into a new folder")
    base = base_of(note, run)
    known = str(read_config(base).get("model_type")) in CONVERTED
    engine = Engine.CTRANSLATE2 if known else Engine.TRANSFORMERS
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        merged, made = Path(scratch) / "merged", Path(scratch) / "made"
        _merge(note, run, base, merged)
        if known:
            _convert(merged, made, precision)
        else:
            merged.rename(made)
        note.model_copy(update={"base": None, "engine": engine}).write(made)
        if out.exists():
            out.rmdir()
        made.rename(out)
    return engine


def _merge(note: ModelNote, run: Path, base: Path, merged: Path) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = weights_of(run)
    adapted = (weights / CONFIG_FILE).is_file()
    kind: Any = AutoModelForCausalLM if note.family is None else AutoModelForSeq2SeqLM
    # In float32, so that the sum is rounded once, when it is converted or saved.
    model = kind.from_pretrained(
        base if adapted else weights, dtype=torch.float32, local_files_only=True
    )
    stored = read_config(base).get("dtype") or read_config(base).get("torch_dtype") or "float32"
    if adapted and kind_of(weights) == BOTTLENECK:
        raise UnsupportedAdapter(
            f"{weights}: bottleneck adapters are layers of their own and cannot be merged; run "
            f"them as they are: dragoman translate --model {run}"
        )
    if adapted:
        tuned = PeftModel.from_pretrained(model, str(weights))
        if tuned.active_peft_config.is_prompt_learning:
            raise UnsupportedAdapter(
                f"{weights}: virtual tokens cannot be merged into a model; run it as it is: "
                f"dragoman translate --model {run}"
            )
        model = tuned.merge_and_unload()
    if note.family is None:
        model = model.to(getattr(torch, str(stored)))
    model.save_pretrained(merged)
    _copy(base, merged)


def _copy(base: Path, folder: Path) -> None:
    ignored = shutil.ignore_patterns(*_WEIGHTS, "config.json", "generation_config.json")
    for file in base.iterdir():
        if file.is_file() and not ignored(str(base), [file.name]):
            shutil.copyfile(file, folder / file.name)


def _convert(merged: Path, made: Path, precision: Precision) -> None:
    from training.translate.convert import convert

    made.mkdir()
    convert(merged, made / CT2_FOLDER, precision)
    shutil.copyfile(merged / "config.json", made / "config.json")
    _copy(merged, made)
