"""Checkpoints that a killed run can go on from: whole or not used, and exact to the last bit.

transformers writes optimizer, learning rate, random numbers and its own state. Beside them lie the
trained weights as they are in memory (PEFT would cut AdaLoRA's to their ranks of the moment), the
state of whatever else changes while training, and, written last, the digests of all files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adapters.errors import TrainingFailed

WEIGHTS_FILE: Final = "weights.safetensors"
_STATES_FILE: Final = "states.pt"
_MARK_FILE: Final = "complete.json"


class Kept(Protocol):
    """What changes while training and is needed to go on: plain values and tensors."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def newest(folder: Path, *, remove_broken: bool) -> Path | None:
    """Return the newest whole checkpoint in `folder`, if there is one.

    A process killed while it wrote one leaves it without its mark; a machine that lost power may
    leave files that are not what the mark says.
    """
    steps = {int(f.name.rpartition("-")[2]): f for f in folder.glob("checkpoint-*")}
    for step in sorted(steps, reverse=True):
        if _is_whole(steps[step]):
            return steps[step]
        if remove_broken:
            shutil.rmtree(steps[step], ignore_errors=True)
    return None


def write_weights(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write `weights` into `folder` in their own precision."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in weights.items()},
        folder / WEIGHTS_FILE,
    )


def read_weights(weights: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Give `weights` the values that write_weights wrote into `folder`.

    Raises TrainingFailed where others were trained then.
    """
    values = load_file(folder / WEIGHTS_FILE)
    if values.keys() != weights.keys():
        raise TrainingFailed(
            f"{folder / WEIGHTS_FILE}: expected {len(weights)} tensors, found {len(values)}, or "
            "of other names; leave out --resume to start anew"
        )
    assign(weights, values)


def assign(weights: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    """Give each parameter the value of its name, in place."""
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(values[name])


def finish(folder: Path, kept: Mapping[str, Kept]) -> None:
    """Write the states into `folder`, and then the mark that makes it a checkpoint."""
    torch.save({name: one.state_dict() for name, one in kept.items()}, folder / _STATES_FILE)
    draft = folder / f".{_MARK_FILE}.draft"
    draft.write_text(json.dumps(_digests(folder), indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / _MARK_FILE)


def restore(folder: Path, kept: Mapping[str, Kept]) -> None:
    """Give each of `kept` the state that it had when the checkpoint in `folder` was written.

    Raises TrainingFailed where it was of another schedule or method.
    """
    states = torch.load(folder / _STATES_FILE, map_location="cpu", weights_only=True)
    if states.keys() != kept.keys():
        raise TrainingFailed(
            f"{folder / _STATES_FILE}: expected the states of {', '.join(sorted(kept))}, found "
            f"{', '.join(sorted(states))}; leave out --resume to start anew"
        )
    for name, one in kept.items():
        one.load_state_dict(states[name])


def _is_whole(folder: Path) -> bool:
    try:
        promised = json.loads((folder / _MARK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(promised == _digests(folder))


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _MARK_FILE not in file.name:
            with file.open("rb") as stream:
                name = file.relative_to(folder).as_posix()
                digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests
