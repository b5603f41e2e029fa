"""When a GPU has no room for a pass: smaller passes, the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from adapters.console import note
from adapters.errors import OutOfMemory
from training.fit import ranks

_T = TypeVar("_T")


class PassSize:
    """How many positions go through the model together; halved each time that they do not fit."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def rows(self, width: int) -> int:
        """Return how many rows of `width` positions make a pass; one at least."""
        return max(1, self.tokens // width)

    def run(
        self,
        step: Callable[[], _T],
        shape: tuple[int, int],
        parameters: Iterable[nn.Parameter],
    ) -> _T:
        """Return what `step` does for a batch of `shape` (rows, width), again where it ran out.

        `step` asks `rows` for the size of its passes and adds to the gradients of `parameters`;
        what a failed try had added is taken back. Raises OutOfMemory where one row does not fit,
        and at once in one of several processes.
        """
        # Gradients are there only while a step accumulates over batches; then a try needs a copy.
        trained = list(parameters)
        kept = [None if p.grad is None else p.grad.clone() for p in trained]
        while True:
            try:
                return step()
            except torch.OutOfMemoryError as error:
                if ranks.count() > 1:  # the others are amid the same pass, and wait
                    raise _among_several(str(error)) from error
                self._halve(shape, str(error))
            # Only here is the error's traceback gone, which held on to the tensors of the pass.
            _restore(trained, kept)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, shape: tuple[int, int], error: str) -> None:
        height, width = shape
        rows = min(self.rows(width), height)
        if rows == 1:
            raise OutOfMemory(
                f"a pass of one row of {width} tokens does not fit the GPU's memory ({error}); "
                "set schedule.gradient_checkpointing: true, lower schedule.max_length, "
                "set method.quantize: nf4, or take a smaller base"
            )
        self.tokens = rows // 2 * width
        note(
            f"fit: {rows} rows of {width} tokens do not fit the GPU's memory; passes have at "
            f"most {self.tokens} tokens from here on, and the result stays the same"
        )


def _among_several(error: str) -> OutOfMemory:
    return OutOfMemory(
        f"a pass does not fit the GPU's memory ({error}), and several processes cannot try a "
        "smaller one; lower schedule.tokens_per_pass"
    )


def _restore(trained: list[nn.Parameter], kept: list[Tensor | None]) -> None:
    for parameter, gradient in zip(trained, kept, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
