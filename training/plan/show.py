"""A plan as tables for a person."""

from __future__ import annotations

from dataclasses import asdict

import typer

from adapters.console import print_table
from training.methods.served import Way
from training.plan.plan import Plan


def show(plan: Plan) -> None:
    """Print the plan to stdout."""
    print_table(["", ""], _facts(plan), title=f"{plan.recipe.id} on {plan.recipe.base}")
    parts = [[name, _gb(size)] for name, size in asdict(plan.memory).items() if size]
    rows = [*parts, ["total", _gb(plan.memory.total)]]
    if plan.available is not None:
        rows.append(["available now", _gb(plan.available)])
    typer.echo("")
    print_table(["memory on the CPU", "GB"], rows)
    _show_gpus(plan)
    for line in filter(None, [plan.advice, *(f"warning: {w}" for w in plan.warnings)]):
        typer.echo(f"\n{line}")


def _facts(plan: Plan) -> list[list[str]]:
    counts, work = plan.counts, plan.work
    trained = f"{counts.trainable:,} of {counts.total:,} parameters ({counts.share:.3%})"
    facts = [
        ["trained", trained],
        ["saved", f"{counts.file_bytes / 1e6:.1f} MB{_converted(plan)}"],
        ["served", f"{plan.served.way}: {plan.served.why}"],
    ]
    if work is None:
        return [*facts, ["text", f"not read: {plan.why}"]]
    facts += [
        ["text", f"{work.pairs:,} pairs, {work.tokens:,} tokens an epoch, {work.labels:,} labels"],
        ["run", f"{work.steps:,} steps, {work.epochs:.3g} epochs"],
        ["largest pass", f"{work.largest.tokens:,} positions, {work.largest.labels:,} labels"],
    ]
    if plan.rate is not None and plan.hours is not None:
        facts.append(
            ["time here", f"{_hours(plan.hours)} without evaluation, by {plan.rate.source}"]
        )
    return facts


def _show_gpus(plan: Plan) -> None:
    currency, seen = plan.table.currency, [on.gpu.seen for on in plan.gpus]
    rows = [
        [
            on.gpu.name,
            "yes" if on.fits else "no",
            "" if on.hours is None else _hours(on.hours),
            "" if on.cost is None else f"{on.cost:.2f}",
            f"{on.gpu.price:.2f} ({on.gpu.source}, {on.gpu.seen})",
        ]
        for on in plan.gpus
    ]
    typer.echo("")
    print_table(["GPU", "fits", "time", currency, f"{currency} an hour"], rows)
    typer.echo(
        f"A GPU needs {_gb(plan.gpu_memory.total)} GB for it (not measured by us); times take "
        f"{plan.table.utilisation:.0%} of the data sheet's speed, which small models do not "
        f"reach; list prices of {min(seen)} to {max(seen)}, yours with --gpus FILE"
    )


def _converted(plan: Plan) -> str:
    return "" if plan.served.way in (Way.DIRECTLY, Way.MERGED) else " before it is converted"


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f}"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"
