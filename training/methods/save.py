"""A trained method as a folder: whole or not at all, and without paths of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel

from adapters.base_model import read_card
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.methods.attach import Adapted


def save(
    adapted: Adapted, base: Path, folder: Path, *, precision: torch.dtype | None = None
) -> Path:
    """Write adapter_config.json and adapter_model.safetensors, nothing else.

    The config names the base by its name. Tensors have the base's precision, unless another is
    given: servers cast them to it anyway, so what is evaluated is what is served.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    _save_peft(adapted, base, draft, precision or adapted.base.dtype)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder


def target_modules(folder: Path) -> tuple[str, ...]:
    """Return the modules that the adapter in `folder` changes; none for virtual tokens."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return tuple(config.get("target_modules") or ())


def _save_peft(adapted: Adapted, base: Path, draft: Path, precision: torch.dtype) -> None:
    model = adapted.model
    if not isinstance(model, PeftModel):
        raise TypeError(f"expected a PeftModel, found {type(model)}")
    state = {name: p.detach().to(precision) for name, p in adapted.trainable().items()}
    model.save_pretrained(str(draft), state_dict=state, save_embedding_layers=False)
    config = json.loads((draft / CONFIG_FILE).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(read_card(base).get("name") or base.name)
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = _short_names(model, config["target_modules"])
    config["inference_mode"] = True
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (draft / CONFIG_FILE).write_text(text, encoding="utf-8")
    for file in draft.iterdir():
        if file.name not in (CONFIG_FILE, WEIGHTS_FILE):
            file.unlink()


def _short_names(model: PeftModel, names: Sequence[str]) -> list[str]:
    """Return the last parts of the names, sorted, where they choose the same modules."""
    short = {name.rpartition(".")[2] for name in names}
    left_out = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith(".base_layer")
    }
    return sorted(names if short & left_out else short)
