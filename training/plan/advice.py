"""What a plan says about the amount of text, and about values that seldom do what was meant."""

from __future__ import annotations

from typing import Final

from training.methods.config import (
    SERVED_RANKS,
    AdaLoraMethod,
    FullMethod,
    LohaMethod,
    LokrMethod,
    LoraMethod,
    Method,
)
from training.methods.rates import learning_rate_of
from training.methods.served import Served, Way
from training.plan.work import Work
from training.recipe import Recipe

# Vieira et al. 2024, arXiv:2409.03454: Llama 3 8B on translation memories of 1k to 207k segments.
_VIEIRA: Final = "Vieira et al. 2024 (arXiv:2409.03454)"
_FEW, _ENOUGH = 500, 5_000
_PADDING: Final = 0.5
# LoRA: QLoRA's 1e-4 to 2e-4 (arXiv:2305.14314) and our own 5e-4 on a small base, with room around
# them. Full: a tenth of it ("LoRA Without Regret", Schulman et al. 2025).
_RATES: Final[dict[type, tuple[float, float]]] = {
    LoraMethod: (5e-5, 2e-3),
    AdaLoraMethod: (5e-5, 5e-3),
    LohaMethod: (5e-5, 5e-3),
    LokrMethod: (5e-5, 5e-3),
    FullMethod: (5e-6, 2e-4),
}


def about_data(pairs: int) -> str:
    """Return what is known about training on `pairs` segments, with its source."""
    if pairs < _FEW:
        return (
            f"{pairs} pairs: fewer than in any experiment we know; try examples in the prompt "
            f"first. {_VIEIRA} found Llama 3 8B worse than untrained after 1,000 and 2,000"
        )
    if pairs < _ENOUGH:
        return (
            f"{pairs} pairs: enough for a narrow domain on a small base (ours: Gemma 3 270M on "
            "2,872 interface strings, chrF++ 29.8 to 58.9, docs/benchmarks.md), maybe not for a "
            f"strong one: {_VIEIRA} found Llama 3 8B worse after 1,000 and 2,000, better from 5,000"
        )
    return f"{pairs} pairs: {_VIEIRA} found gains from 5,000 on, and the largest above 100,000"


def warnings(recipe: Recipe, served: Served, work: Work | None) -> list[str]:
    """Return what in the recipe is likely a slip, each with what to do instead."""
    found = [*_of_method(recipe.method), *_of_schedule(recipe)]
    if served.way is Way.NOT:
        found.append(f"what this trains is served by no server of ours: {served.why}")
    if work is not None:
        found += _of_work(recipe, work)
    return found


def _of_method(method: Method) -> list[str]:
    rank = _served_rank(method)
    if rank is None:
        return []
    if rank > SERVED_RANKS[-1]:
        return [f"it is served as LoRA of rank {rank}, and servers take {SERVED_RANKS[-1]} at most"]
    padded = min(r for r in SERVED_RANKS if r >= rank)
    if padded != rank:
        return [f"rank {rank} is served padded to {padded}: {padded} costs the server the same"]
    return []


def _served_rank(method: Method) -> int | None:
    if isinstance(method, LoraMethod):
        return 2 * method.rank if method.init in ("pissa", "olora", "corda") else method.rank
    return method.rank**2 if isinstance(method, LohaMethod) else None


def _of_schedule(recipe: Recipe) -> list[str]:
    rate = recipe.schedule.learning_rate or learning_rate_of(recipe.method)
    low, high = _RATES.get(type(recipe.method), (0.0, 1.0))
    if low <= rate <= high:
        return []
    side = "above" if rate > high else "below"
    return [
        f"learning rate {rate:g} is {side} what {recipe.method.kind} is usually trained with "
        f"({low:g} to {high:g})"
    ]


def _of_work(recipe: Recipe, work: Work) -> list[str]:
    found = []
    if work.padding > _PADDING:
        found.append(
            f"{work.padding:.0%} of what goes through the model is padding: lengths differ too "
            "much within a batch; lower schedule.batch_size or schedule.max_length"
        )
    if work.too_long > work.pairs / 10:
        found.append(
            f"{work.too_long} pairs are longer than schedule.max_length "
            f"{recipe.schedule.max_length} and are left out; raise it"
        )
    if work.pairs < recipe.schedule.rows_per_step:
        found.append(f"a step takes {recipe.schedule.rows_per_step} pairs, there are {work.pairs}")
    return found
