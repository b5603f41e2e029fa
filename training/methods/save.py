"""A trained method as a folder: whole or not at all, and without paths of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from adapters.base_model import CARD_FILE, BaseModelRef, read_card
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.methods.attach import Adapted
from training.methods.bottleneck import Bottleneck, bottlenecks, places_of

BOTTLENECK: Final = "BOTTLENECK"
# Of a base's folder: what its weights are in, and what is said anew about a model made from it.
_NOT_COPIED: Final = (
    "*.safetensors", "*.bin", "*.gguf", "*.index.json", "README.md", ".*", CARD_FILE,
)  # fmt: skip


def save(
    adapted: Adapted, base: Path, folder: Path, *, precision: torch.dtype | None = None
) -> Path:
    """Write what was trained, nothing else: adapter_config.json and adapter_model.safetensors.

    After full fine-tuning it is a whole model that serves as a base. The config names the base by
    its name. Tensors have the base's precision, unless another is given: servers cast them to it
    anyway, so what is evaluated is what is served.
    """
    precision = precision or _precision(adapted)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    if isinstance(adapted.model, PeftModel):
        _save_peft(adapted, base, draft, precision)
    elif next(bottlenecks(adapted.model), None) is not None:
        _save_bottlenecks(adapted, base, draft, precision)
    else:
        _save_model(adapted, base, draft, precision)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder


def target_modules(folder: Path) -> tuple[str, ...]:
    """Return the modules that the adapter in `folder` changes; none for virtual tokens."""
    if not (folder / CONFIG_FILE).is_file():
        return ()  # a whole model
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return tuple(config.get("target_modules") or ())


def _save_peft(adapted: Adapted, base: Path, draft: Path, precision: torch.dtype) -> None:
    model = adapted.model
    if not isinstance(model, PeftModel):
        raise TypeError(f"expected a PeftModel, found {type(model)}")
    state = {name: p.detach() for name, p in adapted.trainable().items()}
    model.save_pretrained(str(draft), state_dict=state, save_embedding_layers=False)
    for file in draft.iterdir():
        if file.name not in (CONFIG_FILE, WEIGHTS_FILE):
            file.unlink()
    # Not in `state`: PEFT reads virtual tokens from the model.
    _write_tensors(draft, load_file(draft / WEIGHTS_FILE), precision)
    config = json.loads((draft / CONFIG_FILE).read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = _short_names(model, config["target_modules"])
    if config.get("tokenizer_name_or_path"):  # of the words that virtual tokens began as
        config["tokenizer_name_or_path"] = _name_of(base)
    _write_config(draft, base, config)


def _save_bottlenecks(adapted: Adapted, base: Path, draft: Path, precision: torch.dtype) -> None:
    adapter: Bottleneck = next(bottlenecks(adapted.model))[1]
    tensors = {name: p.detach() for name, p in adapted.trainable().items()}
    _write_tensors(draft, tensors, precision)
    config = {**adapter.method.model_dump(exclude={"kind"}), "peft_type": BOTTLENECK}
    _write_config(draft, base, {**config, "target_modules": places_of(adapted.model)})


def _save_model(adapted: Adapted, base: Path, draft: Path, precision: torch.dtype) -> None:
    model: Any = adapted.model
    cast: dict[int, torch.Tensor] = {}  # by address, so that tied tensors stay one
    state = {
        name: cast.setdefault(t.data_ptr(), t.to(precision) if t.is_floating_point() else t)
        for name, t in model.state_dict().items()
    }
    model.save_pretrained(draft, state_dict=state)
    # The config stays the base's to the letter; transformers would name today's precision in it.
    shutil.copytree(base, draft, ignore=_ignored(base), dirs_exist_ok=True)
    made_from = BaseModelRef.read(base)
    card = {**read_card(base), "name": f"{made_from.name}-finetuned"}
    card |= {"revision": None, "source": "fine-tuned by `dragoman train`"}
    card |= {"made_from": made_from.model_dump(mode="json")}
    _write_json(draft / CARD_FILE, card)


def _ignored(base: Path) -> Any:
    patterns = shutil.ignore_patterns(*_NOT_COPIED)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return patterns(folder, names) | {name for name in names if (base / name).is_dir()}

    return ignored


def _precision(adapted: Adapted) -> torch.dtype:
    # Of the config, where transformers notes how the base was loaded: what is trained is float32.
    dtype = adapted.base.config.dtype
    return dtype if isinstance(dtype, torch.dtype) else adapted.base.dtype


def _write_tensors(draft: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    cast = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(cast, draft / WEIGHTS_FILE, metadata={"format": "pt"})


def _write_config(draft: Path, base: Path, config: dict[str, Any]) -> None:
    config = {**config, "base_model_name_or_path": _name_of(base), "inference_mode": True}
    _write_json(draft / CONFIG_FILE, dict(sorted(config.items())))


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _name_of(base: Path) -> str:
    return str(read_card(base).get("name") or base.name)


def _short_names(model: PeftModel, names: Sequence[str]) -> list[str]:
    """Return the last parts of the names, sorted, where they choose the same modules."""
    short = {name.rpartition(".")[2] for name in names}
    left_out = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith(".base_layer")
    }
    return sorted(names if short & left_out else short)
