"""How fast this machine trains: as it did last time, or by a short measurement."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.locations import cache_root
from training.encode import Encoded
from training.fit.result import FitResult
from training.plan.counts import Counts, count
from training.plan.work import flop, work_of
from training.recipe import Recipe

_FILE: Final = "training-rates.json"
# Taken, not measured: a step is not only large products. A finished run replaces it by a fact.
_SHARE_OF_PRODUCT: Final = 0.5
_PROBE_S: Final = 0.5


@dataclass(frozen=True)
class Rate:
    """Floating point operations a second, and where the figure is from."""

    flop_s: float
    source: str


def rate_of(kind: str, counts: Counts, positions: int) -> Rate:
    """Return the rate of earlier runs of `kind` here, else one measured now, within a second."""
    known = _read().get(kind)
    if known is not None:
        return Rate(known, "an earlier run on this machine")
    return Rate(
        _SHARE_OF_PRODUCT * _product_rate(counts, positions),
        "half the speed of a matrix product timed just now; after a run here, by that run",
    )


def remember(
    recipe: Recipe, base: Path, fitted: FitResult, rows: Sequence[Encoded], *, hardware: str
) -> None:
    """Keep the rate of a finished fit over `rows`, for the plans of runs like it."""
    if not fitted.tok_s:
        return  # too short to have one
    counts = count(base, recipe.method)
    work = work_of(rows, 0, recipe.schedule, seed=recipe.seed)
    computed = flop(counts, recipe.method, recipe.schedule, work, gpu=False)
    rates = _read() | {rate_key(recipe, counts, hardware): computed / work.tokens * fitted.tok_s}
    path = cache_root() / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def rate_key(recipe: Recipe, counts: Counts, hardware: str) -> str:
    """Return what runs of one speed have in common: machine, method, how the base is held."""
    quantize = getattr(recipe.method, "quantize", "none")
    held = f"{8 * counts.element_bytes}-bit" if quantize == "none" else quantize
    checkpoints = ", checkpointing" if recipe.schedule.gradient_checkpointing else ""
    return f"{hardware}, {recipe.method.kind}, {held}{checkpoints}"


def _read() -> dict[str, float]:
    path: Path = cache_root() / _FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # a broken note is worth no more than a missing one
        return {}


def _product_rate(counts: Counts, positions: int) -> float:
    import torch

    shape = counts.shape
    dtype = torch.bfloat16 if counts.element_bytes == 2 else torch.float32
    left = torch.ones(positions, shape.hidden, dtype=dtype)
    right = torch.ones(shape.hidden, shape.inner, dtype=dtype)
    left @ right  # the first product packs and starts the threads
    started, times = time.perf_counter(), 0
    while time.perf_counter() - started < _PROBE_S:
        left @ right
        times += 1
    seconds = time.perf_counter() - started
    return 2.0 * positions * shape.hidden * shape.inner * times / seconds
