"""Snapshots: the weights of the steps that the result is made of, the best ones or the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


class Snapshots:
    """Keeps the weights of the `count` best steps by value, or of the last ones where all are 0.

    Only the process with `writes` has files; the others know the same steps. A file goes when
    neither the newest checkpoint nor the one before it speaks of it, so a run that was killed
    finds those of the checkpoint that it goes on from.
    """

    def __init__(self, folder: Path, count: int, *, writes: bool = True) -> None:
        self._folder = folder
        self._count = count
        self._writes = writes
        self._values: dict[int, float] = {}
        self._before: set[int] = set()

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps whose weights are kept now, in order."""
        return tuple(sorted(self._values))

    def offer(self, step: int, weights: Mapping[str, torch.Tensor], value: float = 0.0) -> None:
        """Keep `weights` if they are among the best; of equal values, the later one is better."""
        self._values[step] = value
        if len(self._values) > self._count:
            del self._values[min(self._values, key=lambda s: (self._values[s], s))]
        if step in self._values and self._writes:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f".{step}.draft"
            save_file({n: t.detach().contiguous() for n, t in weights.items()}, draft)
            draft.replace(self._file(step))

    def mean(self) -> dict[str, torch.Tensor]:
        """Return the uniform mean of the kept weights, in their precision."""
        sums: dict[str, torch.Tensor] = {}
        dtypes: dict[str, torch.dtype] = {}
        for step in self.steps:
            for name, tensor in load_file(self._file(step)).items():
                dtypes[name] = tensor.dtype
                sums[name] = sums[name] + tensor if name in sums else tensor.double()
        return {name: (t / len(self.steps)).to(dtypes[name]) for name, t in sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the steps and their values; called once a checkpoint, it removes old files."""
        needed = self._before | set(self._values)
        for file in self._folder.glob("*.safetensors"):
            if self._writes and int(file.stem) not in needed:
                file.unlink()
        self._before = set(self._values)
        return {"values": dict(self._values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the steps of a checkpoint."""
        self._values = dict(state["values"])
        self._before = set(self._values)

    def _file(self, step: int) -> Path:
        return self._folder / f"{step}.safetensors"
