"""The plan of a run: what is trained, what it takes here and on common GPUs, what looks wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid
from training import prepare
from training.drawn import draw
from training.methods.served import Served, how_served
from training.objective import PreferenceObjective, Sft
from training.plan.advice import about_data, warnings
from training.plan.counts import Counts, count
from training.plan.gpus import Gpus, OnGpu, on_each
from training.plan.machine import available_memory
from training.plan.memory import Memory, Pass, estimate, largest_pass
from training.plan.speed import Rate, rate_key, rate_of
from training.plan.work import Work, flop, work_of
from training.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """`work`, `rate` and `hours` are None where the text is not here; `why` says so."""

    recipe: Recipe
    counts: Counts
    served: Served
    work: Work | None
    why: str
    largest: Pass
    memory: Memory
    gpu_memory: Memory
    available: int | None
    rate: Rate | None
    hours: float | None
    gpus: tuple[OnGpu, ...]
    table: Gpus
    advice: str
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; sizes are bytes, times are hours."""
        counts, work = self.counts, self.work
        return {
            "id": str(self.recipe.id),
            "base": self.recipe.base,
            "method": self.recipe.method.model_dump(mode="json"),
            "parameters": asdict(counts) | {"share": counts.share},
            "served": {"way": str(self.served.way), "why": self.served.why},
            "work": work and asdict(work) | {"padding": work.padding},
            "work_unknown_because": self.why or None,
            "largest_pass": asdict(self.largest),
            "memory_bytes": asdict(self.memory) | {"total": self.memory.total},
            "gpu_memory_bytes": asdict(self.gpu_memory) | {"total": self.gpu_memory.total},
            "available_bytes": self.available,
            "rate": self.rate and asdict(self.rate),
            "hours": self.hours,
            "gpus": [
                {**on.gpu.model_dump(mode="json"), "fits": on.fits}
                | {"hours": on.hours, "cost": on.cost}
                for on in self.gpus
            ],
            "currency": self.table.currency,
            "utilisation": self.table.utilisation,
            "data_advice": self.advice,
            "warnings": list(self.warnings),
        }


def plan(recipe: Recipe, base: Path, *, table: Gpus, hardware: str) -> Plan:
    """Return the plan of `recipe` on the base in `base`. Loads no weights and writes nothing."""
    method, schedule = recipe.method, recipe.schedule
    counts = count(base, method)
    served = how_served(method, counts.shape.model_type)
    work, why = work_here(recipe, base)
    largest = work.largest if work else largest_pass(schedule)
    gpu_memory = estimate(counts, method, schedule, largest, gpu=True)
    rate = hours = gpu_flop = None
    if work:
        rate = rate_of(rate_key(recipe, counts, hardware), counts, largest.tokens)
        here = flop(counts, method, schedule, work, gpu=False) * work.epochs
        hours = here / rate.flop_s / 3600
        gpu_flop = flop(counts, method, schedule, work, gpu=True) * work.epochs
    return Plan(
        recipe=recipe,
        counts=counts,
        served=served,
        work=work,
        why=why,
        largest=largest,
        memory=estimate(counts, method, schedule, largest),
        gpu_memory=gpu_memory,
        available=available_memory(),
        rate=rate,
        hours=hours,
        gpus=tuple(on_each(table, gpu_memory.total, gpu_flop)),
        table=table,
        advice=about_data(work.pairs) if work else "",
        warnings=tuple(warnings(recipe, served, work)),
    )


def work_here(recipe: Recipe, base: Path) -> tuple[Work | None, str]:
    """Return the work of the recipe's text, or None and why its text cannot be read."""
    # Rejected translations are made later; they are about as long as the chosen ones.
    is_preference = isinstance(recipe.objective, PreferenceObjective)
    as_read = recipe.model_copy(update={"objective": Sft()}) if is_preference else recipe
    try:
        drawn = draw(as_read, base, prepare.prepare(recipe).train)
    except DataInvalid as error:
        return None, str(error)
    if not drawn.rows:
        return None, f"all pairs are longer than schedule.max_length {recipe.schedule.max_length}"
    return work_of(drawn.rows, drawn.too_long, drawn.schedule, seed=recipe.seed), ""
