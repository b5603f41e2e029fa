"""Several processes at work on one fit, as torchrun and accelerate start them; else one.

Imports torch only where there are several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from adapters.errors import TrainingFailed

_T = TypeVar("_T")
# The others wait while the first one reads and cleans the data; if it fails, torchrun ends them.
_PATIENCE: Final = timedelta(hours=24)


def rank() -> int:
    """Return this process's number, 0 for the one that has files, notes and results."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Return how many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """Let the processes find each other; nothing happens where there is one."""
    if count() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    # Objects travel over gloo. accelerate takes the group as it finds it.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def from_first(value: _T | None) -> _T:
    """Return what the first process gave; the others give nothing and wait for it."""
    if count() == 1:
        return value  # type: ignore[return-value]
    import torch.distributed as dist

    values: list[Any] = [value]
    with _all_alive():
        dist.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[no-any-return]


def gather(value: _T) -> list[_T]:
    """Return the value of every process, in their order, to each of them."""
    if count() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * count()
    with _all_alive():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def _all_alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own errors of a lost connection are this
        reason = str(error).partition("\n")[0]
        raise TrainingFailed(
            f"process {rank()} cannot go on without the others ({reason}); "
            "what they said before says why"
        ) from error
