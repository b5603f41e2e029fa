"""`dragoman train`: one recipe in, one measured (and published) adapter out."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.console import note, print_json, print_table
from training.methods.served import Way

if TYPE_CHECKING:
    from training.pipeline import Outcome
    from training.recipe import Recipe

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. schedule.epochs=2."),
]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Relative paths in the recipe start here, not at its own folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def train(
    recipe: RecipeName,
    *,
    overrides: Overrides = None,
    data: DataFolder = None,
    registry: Annotated[Path | None, typer.Option(help="Registry to publish to.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder, instead of the cache's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish the adapter if it passes the gate.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish it even if it fails; the manifest says so.")
    ] = False,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop early, for a smoke test.")
    ] = None,
    fit_only: Annotated[
        bool, typer.Option("--fit-only", help="Stop after the fit; --resume measures it.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it takes and costs; train nothing.")
    ] = False,
    gpus: Annotated[
        Path | None, typer.Option(help="GPUs and prices for --plan, instead of the shipped ones.")
    ] = None,
    allow_memory: Annotated[
        bool, typer.Option("--allow-memory", help="Start even if the memory looks too small.")
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Show progress to Prometheus on /metrics there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train, evaluate and, with --publish, publish the adapter of a recipe.

    A run keeps its files in a folder of its own; Ctrl-C stops it, --resume goes on with it.
    Several processes share its batches: torchrun --nproc-per-node 2 -m dragoman train RECIPE

    Example: dragoman train jupyter-en-fr --publish
    """
    from training.exporter import exported, parse_address
    from training.recipe import Recipe

    changes = [*(overrides or ()), *([f"schedule.max_steps={max_steps}"] if max_steps else ())]
    if force and not publish:
        raise typer.BadParameter("--force only means something together with --publish")
    if fit_only and publish:
        raise typer.BadParameter("--fit-only measures nothing, so nothing can be published")
    try:
        address = parse_address(metrics) if metrics else None
    except ValueError as error:
        raise typer.BadParameter(f"--metrics: {error}") from None
    # Read before the start below, so that a broken recipe is told at once.
    config = Recipe.load(recipe, overrides=changes, folder=data)
    if plan:
        _plan(config, gpus, as_json=as_json)
        return
    restart_with_fast_libraries()
    # On import it warns that 4-bit kernels are missing, which no run here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from adapters.locations import default_registry
    from adapters.registry import FileRegistry
    from training.fit import ranks
    from training.pipeline import follow, run
    from training.run import Options

    try:
        with ranks.joined(), exported(None if ranks.rank() else address, str(config.id)) as on_step:
            options = Options(
                out=out, resume=resume, publish=publish, force=force,
                allow_memory=allow_memory, fit_only=fit_only, on_step=on_step,
            )  # fmt: skip
            if ranks.rank() > 0:
                follow(config, options)
                return
            outcome = run(config, FileRegistry(registry or default_registry()), options)
    except KeyboardInterrupt:
        if ranks.rank() == 0:
            note(f"stopped; go on with: {_resume_command(sys.argv)}")
        raise typer.Exit(130) from None
    if as_json:
        print_json(_json(outcome))
    else:
        _show(outcome)


def _plan(config: Recipe, gpus: Path | None, *, as_json: bool) -> None:
    from adapters.locations import bases_root
    from training.base_models import resolve_base
    from training.hardware import hardware
    from training.plan.gpus import SHIPPED, Gpus
    from training.plan.plan import plan
    from training.plan.show import show

    table = Gpus.load(gpus or SHIPPED)
    base = resolve_base(config.base, root=bases_root(), say=note)
    planned = plan(config, base, table=table, hardware=hardware())
    if as_json:
        print_json(planned.to_json())
    else:
        show(planned)


def restart_with_fast_libraries() -> None:
    """Start this same command again with tcmalloc and OpenMP preloaded, where that is missing.

    LD_PRELOAD is read when a process starts. exec keeps the process id, so signals, exit code and
    terminal stay those of the command.
    """
    from adapters.preload import preload_env

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(cores or 1))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    preload = preload_env()
    is_command = Path(sys.argv[0]).stem == "dragoman"  # not a test that called the function
    if preload and is_command:
        sys.stdout.flush()
        sys.stderr.flush()
        arguments = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **preload})  # noqa: S606


def _resume_command(argv: list[str]) -> str:
    arguments = [argument for argument in argv[1:] if argument != "--resume"]
    return shlex.join(["dragoman", *arguments, "--resume"])


def _json(outcome: Outcome) -> dict[str, object]:
    published = outcome.published
    return {
        **outcome.summary,
        "folder": str(outcome.folder),
        "published": published
        and {
            "version": published.manifest.version,
            "digest": published.manifest.digest,
            "folder": str(published.folder),
        },
    }


def _show_scores(figures: dict[str, Any], title: str) -> None:
    further = figures.get("further", {})

    def row(name: str, prefix: str, column: str) -> list[str]:
        own = [figures.get(f"{prefix}{metric}") for metric in ("chrf", "bleu")]
        values = [*own, *(scores.get(column) for scores in further.values())]
        return [name, *("" if value is None else f"{value:.1f}" for value in values)]

    rows = [row("adapter", "", "value"), row(f"base, {figures['base_asked']}", "base_", "base")]
    if "zero_shot_chrf" in figures:
        rows.append(row(f"base, {figures['zero_shot_asked']}", "zero_shot_", "zero_shot"))
    if "start_chrf" in figures:
        rows.append(row("start of training", "start_", "start"))
    rows.append(row("source copied", "copy_", "copy"))
    print_table(["system", "chrF++", "BLEU", *further], rows, title=title)


def _show(outcome: Outcome) -> None:
    summary, published = outcome.summary, outcome.published
    if "gate" not in summary and "perplexity" not in summary:
        typer.echo(f"fitted: {outcome.folder / 'adapter'}, not measured; --resume goes on")
        return
    if "perplexity" in summary:
        rows = [["adapter", summary["perplexity"]], ["base", summary["base_perplexity"]]]
        print_table(["system", "perplexity"], rows, title=summary["signature"])
        typer.echo(f"p = {summary['p_value']:.3f} that the adapter is not better")
        typer.echo(f"adapter: {outcome.folder / 'adapter'}")
        return
    for pair, figures in summary.get("pairs", {}).items():
        _show_scores(figures, f"{pair}: {figures['test_set']}")
    mean_of = f"mean of {len(summary['pairs'])} pairs" if "pairs" in summary else ""
    _show_scores(summary, mean_of or summary["test_set"])
    if "dev_preferred" in summary:
        before, after = summary["dev_preferred"]
        typer.echo(f"held-out pairs preferred: {before:.0%} before, {after:.0%} after")
    gate = summary["gate"]
    verdict = "passed" if gate["passed"] else "not passed"
    typer.echo(f"gate {verdict}: {'; '.join(gate['reasons'])}")
    typer.echo(f"report: {outcome.folder / 'adapter' / 'report.html'}")
    if published is None:
        typer.echo(_use_of(outcome))
        typer.echo(f"try it: dragoman translate --model {shlex.quote(str(outcome.folder))} TEXT")
        return
    manifest = published.manifest
    stable = "" if gate["passed"] else f"; make it stable: dragoman adapters promote {manifest.id}"
    suffix = "" if gate["passed"] else f"@{manifest.version}"
    typer.echo(f"published: {manifest.id}@{manifest.version} in {published.folder}{stable}{suffix}")


def _use_of(outcome: Outcome) -> str:
    served = outcome.summary["served"]
    if outcome.summary["method"] == "full":
        return f"a model of its own: dragoman serve --base {outcome.folder / 'adapter'}"
    if served["way"] in (Way.NOT, Way.MERGED):
        return f"served {served['way']}: {served['why']}"
    return "not published; do it with: dragoman train … --resume --publish"
