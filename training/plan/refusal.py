"""A run that needs more memory than there is does not start."""

from __future__ import annotations

from pathlib import Path

from adapters.console import note
from adapters.errors import BaseModelError, OutOfMemory
from training.plan import machine
from training.plan.counts import count
from training.plan.memory import Memory, estimate, largest_pass
from training.plan.plan import work_here
from training.recipe import Recipe


def refuse_beyond_memory(recipe: Recipe, base: Path, *, allow: bool = False) -> None:
    """Raise OutOfMemory where a run on this CPU is estimated to need more than is available.

    With `allow`, only says so. On a GPU passes are made smaller as the run goes on instead.
    """
    import torch

    available = machine.available_memory()
    if available is None or torch.cuda.is_available():
        return
    try:
        counts = count(base, recipe.method)
    except BaseModelError as error:
        note(f"memory: not estimated: {error}")
        return
    needed = estimate(counts, recipe.method, recipe.schedule, largest_pass(recipe.schedule))
    if needed.total <= available:
        return
    # The bound holds for any text; this text may be shorter.
    work, _ = work_here(recipe, base)
    if work is not None:
        needed = estimate(counts, recipe.method, recipe.schedule, work.largest)
    if needed.total <= available:
        return
    message = _message(recipe, needed, available)
    if not allow:
        raise OutOfMemory(message)
    note(f"memory: {message}")


def _message(recipe: Recipe, needed: Memory, available: int) -> str:
    parts = ", ".join(f"{n} {v / 1e9:.1f}" for n, v in vars(needed).items() if v >= 5e7)
    return (
        f"{recipe.id}: training needs about {needed.total / 1e9:.1f} GB ({parts}), and "
        f"{available / 1e9:.1f} GB are available; {', or '.join(_remedies(recipe))}; "
        "`--plan` shows what each changes, --allow-memory starts it all the same"
    )


def _remedies(recipe: Recipe) -> list[str]:
    schedule, found = recipe.schedule, []
    if not schedule.gradient_checkpointing:
        found.append("set schedule.gradient_checkpointing: true")
    if schedule.tokens_per_pass > schedule.max_length:
        found.append(f"lower schedule.tokens_per_pass ({schedule.tokens_per_pass})")
    elif schedule.max_length > 64:
        found.append(f"lower schedule.max_length ({schedule.max_length})")
    if recipe.method.kind == "full":
        found.append("set method.kind: lora")
    if getattr(recipe.method, "quantize", "") == "none":
        found.append("set method.quantize: nf4")
    return [*found, "take a smaller base"]
