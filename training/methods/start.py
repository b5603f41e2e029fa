"""Training that goes on from an adapter: its weights in, once it is known to be of the method."""

from __future__ import annotations

import json
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from adapters.errors import TrainingFailed
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.methods.attach import Adapted

# What decides, beside the tensors' names and shapes, how an adapter computes.
_SETTINGS = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora")


def load_start(adapted: Adapted, folder: Path) -> None:
    """Give `adapted` the weights of the adapter in `folder`.

    Raises TrainingFailed if there are none, or if they differ in anything but values.
    """
    model = adapted.model
    if not isinstance(model, PeftModel):
        raise TrainingFailed(f"{folder}: an adapter is no start for a method that has none")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError) as error:
        raise TrainingFailed(
            f"{folder}: no adapter to start from ({error}); expected {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}, such as in the folder adapter/ of a run"
        ) from error
    own = model.peft_config["default"].to_dict()
    differing = [
        f"{name} {config.get(name)!r} there, {own[name]!r} in this recipe"
        for name in _SETTINGS
        if name in own and config.get(name) != own[name]
    ]
    ours = {name: tuple(p.shape) for name, p in get_peft_model_state_dict(model).items()}
    theirs = {name: tuple(p.shape) for name, p in weights.items()}
    if not differing and ours != theirs:
        names = sorted(ours.items() ^ theirs.items())
        differing = [f"{len(names)} tensors, {names[0][0]} of shape {names[0][1]} first"]
    if differing:
        raise TrainingFailed(
            f"{folder}: cannot start from it, since it differs from `method` in "
            f"{'; '.join(differing)}; write the start's own settings under `method`"
        )
    set_peft_model_state_dict(model, weights)
