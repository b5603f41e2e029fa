"""What a checkpoint holds of the weights: the trained ones, in the precision they train in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from adapters.errors import TrainingFailed
from training.methods.attach import Adapted

TRAINED_FILE: Final = "trained.safetensors"


def save_trained(adapted: Adapted, folder: Path) -> None:
    """Write the trained parameters into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().contiguous() for name, p in adapted.trainable().items()}
    save_file(tensors, folder / TRAINED_FILE)


def load_trained(adapted: Adapted, folder: Path) -> None:
    """Put back what save_trained wrote. Raises TrainingFailed where something else is trained."""
    tensors, trainable = load_file(folder / TRAINED_FILE), adapted.trainable()
    if tensors.keys() != trainable.keys():
        raise TrainingFailed(
            f"{folder / TRAINED_FILE}: expected {len(trainable)} tensors, found {len(tensors)}; "
            "leave out --resume to start anew"
        )
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(tensors[name])
