"""A trained method as a folder: whole or not at all, and without paths of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from adapters.base_model import CARD_FILE, read_card
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.methods.attach import Adapted

# Of a base's folder: what its weights are in, and what is said anew about a model made from it.
_NOT_COPIED: Final = (
    "*.safetensors", "*.bin", "*.gguf", "*.index.json", "README.md", ".*", CARD_FILE,
)  # fmt: skip


def save(adapted: Adapted, base: Path, folder: Path) -> Path:
    """Write adapter_config.json and adapter_model.safetensors, nothing else; or the whole model.

    The config names the base by its name. Tensors have the base's precision: servers cast them to
    it anyway, so what is evaluated is what is served.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    if isinstance(adapted.model, PeftModel):
        _save_peft(adapted, base, draft)
    else:
        _save_model(adapted, base, draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder


def target_modules(folder: Path) -> tuple[str, ...]:
    """Return the modules that the adapter in `folder` changes; none for virtual tokens."""
    if not (folder / CONFIG_FILE).is_file():
        return ()  # a whole model
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return tuple(config.get("target_modules") or ())


def _save_peft(adapted: Adapted, base: Path, draft: Path) -> None:
    model = adapted.model
    if not isinstance(model, PeftModel):
        raise TypeError(f"expected a PeftModel, found {type(model)}")
    state = {name: p.detach().to(adapted.base.dtype) for name, p in adapted.trainable().items()}
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


def _save_model(adapted: Adapted, base: Path, draft: Path) -> None:
    model: Any = adapted.model
    # Of the config, which notes how the base was stored: what is trained is float32.
    dtype = getattr(torch, str(adapted.base.config.dtype).removeprefix("torch."))
    cast: dict[int, torch.Tensor] = {}  # by address, so that tied tensors stay one
    state = {
        name: cast.setdefault(t.data_ptr(), t.to(dtype)) for name, t in model.state_dict().items()
    }
    model.save_pretrained(draft, state_dict=state)
    shutil.copytree(base, draft, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
    card = {**read_card(base), "name": f"{read_card(base).get('name') or base.name}-finetuned"}
    (draft / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _short_names(model: PeftModel, names: Sequence[str]) -> list[str]:
    """Return the last parts of the names, sorted, where they choose the same modules."""
    short = {name.rpartition(".")[2] for name in names}
    left_out = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith(".base_layer")
    }
    return sorted(names if short & left_out else short)
