"""A base with an adapter added to its weights: a model of its own, for runtimes without LoRA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from adapters.base_model import CARD_FILE, read_card
from adapters.errors import ShapeMismatch
from training.methods.convert import initial_of
from training.methods.peft_folder import BaseWeights, PeftFolder
from training.methods.updates import Module, Product, update_of

_README: Final = """\
---
base_model: {base}
library_name: transformers
tags: [merged, dragoman]
---

# {name}

{base} with an adapter ({kind}) merged into its weights by Dragoman. It serves one purpose only:
adapters beside each other on the shared base need no copy of it.

Licence: that of the adapter and that of the base, {licence}.
"""


def merge(
    folder: Path,
    base: Path,
    out: Path,
    *,
    name: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill `out` with the model of `base` with the adapter in `folder` added to its weights.

    The sums are of float32, rounded once to the base's precision. Memory: one shard. Raises
    AdapterRejected; BaseModelError if the base is quantised.
    """
    adapter = PeftFolder(folder)
    initial = initial_of(adapter, None)
    shards = sorted(base.glob("*.safetensors"))
    left = set(adapter.modules)
    with BaseWeights.open(base) as weights, torch.inference_mode():
        for shard in shards:
            with safe_open(shard, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                metadata = file.metadata()
            for key in [k for k in tensors if k.removesuffix(".weight") in left]:
                module = _module(adapter, initial, weights, key.removesuffix(".weight"))
                tensors[key] = _added(module, tensors[key])
                _scale_bias(module, tensors)
                left.discard(module.name)
                if on_progress is not None:
                    on_progress(len(adapter.modules) - len(left), len(adapter.modules))
            save_file(tensors, str(out / shard.name), metadata=metadata)
    if left:
        raise ShapeMismatch(f"{base}: the base model has no {min(left)}; another base?")
    _copy_the_rest(base, out, name, adapter)


def _module(
    adapter: PeftFolder, initial: PeftFolder | None, weights: BaseWeights, name: str
) -> Module:
    begun = None if initial is None else initial.parts(name)
    return Module(name, adapter.parts(name), adapter.config, lambda: weights.weight(name), begun)


def _added(module: Module, weight: Tensor) -> Tensor:
    update = update_of(module)
    change = update.dense() if isinstance(update, Product) else update
    if change.shape != weight.shape:
        raise ShapeMismatch(
            f"{module.name} is {tuple(weight.shape)} in the base, the adapter is for "
            f"{tuple(change.shape)}; it was trained on another base"
        )
    return (weight.float() + change).to(weight.dtype)


def _scale_bias(module: Module, tensors: dict[str, Tensor]) -> None:
    factors, key = module.parts.get("ia3_l"), f"{module.name}.bias"
    if factors is not None and factors.shape[1] == 1 and key in tensors:
        bias = tensors[key]
        tensors[key] = (bias.float() * factors[:, 0]).to(bias.dtype)


def _copy_the_rest(base: Path, out: Path, name: str, adapter: PeftFolder) -> None:
    for path in base.iterdir():
        hidden = path.name.startswith(".")
        if path.is_file() and path.suffix != ".safetensors" and not hidden:
            shutil.copyfile(path, out / path.name)
    card = read_card(base)
    base_name = str(card.get("name") or base.resolve().name)
    if card:
        body = {**card, "name": name, "source": f"merged into {base_name}"}
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        (out / CARD_FILE).write_text(text, encoding="utf-8")
    readme = _README.format(
        name=name,
        base=base_name,
        kind=adapter.config["peft_type"],
        licence=card.get("licence") or "see its own terms",
    )
    (out / "README.md").write_text(readme, encoding="utf-8")
