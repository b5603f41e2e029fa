"""`dragoman compare`: several systems on one test set, in one command, one table and one page."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.cli import RegistryOption
from adapters.console import note, print_json, print_table
from training.train_cli import DataFolder, Json, Overrides, restart_with_fast_libraries

if TYPE_CHECKING:
    from training.comparison.plan import Plan
    from training.comparison.run import Compared
    from training.comparison.spec import Comparison


def compare(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="COMPARISON|SYSTEM…",
            help="A comparison (YAML file or shipped name); or systems: recipes, ID@VERSION, run "
            "folders, `base`, `base:3` (examples), `memory:3` (nearest training pairs).",
        ),
    ],
    *,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose test part all translate.")
    ] = None,
    overrides: Overrides = None,
    data: DataFolder = None,
    registry: RegistryOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The comparison's folder, instead of the cache's.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove what an earlier session did.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the page there, too.")] = None,
    allow_memory: Annotated[
        bool, typer.Option("--allow-memory", help="Train even if the memory looks too small.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train, ask and score systems on the same held-out text; a table, and a page with charts.

    The same command goes on where an earlier one stopped. A system that fails is told at the end
    (exit 1), and the others go on.

    Example: dragoman compare ranks-jupyter-en-fr
    """
    from training.comparison.plan import Options, Plan

    options = Options(
        out=out, fresh=fresh, registry=registry, changes=tuple(overrides or ()), recipe=recipe,
        data=data, allow_memory=allow_memory,
    )  # fmt: skip
    plan = Plan(_comparison(what, recipe), options)
    _ = plan.identity  # what is wrong with a recipe is told at once
    restart_with_fast_libraries()
    # On import it warns that 4-bit kernels are missing, which no run here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    compared = _compared(plan)
    from training.comparison.result import write

    body = write(compared, html)
    if as_json:
        print_json(body)
    else:
        _show(compared, html)
    if not body["complete"]:
        raise typer.Exit(1)


def _comparison(words: list[str], recipe: str | None) -> Comparison:
    from training.comparison.named import comparison_of, is_comparison
    from training.comparison.spec import Comparison

    several = [word for word in words if is_comparison(word)]
    if several and len(words) > 1:
        raise typer.BadParameter(f"{several[0]} is a comparison: it is run alone")
    return Comparison.load(words[0]) if several else comparison_of(words, recipe)


def _compared(plan: Plan) -> Compared:
    from training.comparison.run import compare as run

    try:
        with _terminated_as_interrupted():
            return run(plan)
    except KeyboardInterrupt:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        note(f"stopped; the same command goes on: {shlex.join(['dragoman', *again])}")
        raise typer.Exit(130) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM what Ctrl-C is, so that a training under way ends, and with a checkpoint."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(compared: Compared, html: Path | None) -> None:
    from training.comparison.folder import PAGE_FILE
    from training.comparison.result import COLUMNS, table

    board, root = compared.board, compared.ground.folder.root
    if board is not None:
        over = f"; gain and p over {board.baseline}" if board.baseline else ""
        title = f"{compared.plan.comparison.title}: {board.test}, {board.test.pair}{over}"
        print_table(COLUMNS, table(compared), title=title)
        for figure in board.entries[0].figures:
            typer.echo(f"{figure.metric}: {figure.signature}")
    for row in compared.rows:
        if row.error is not None:
            note(f"{row.spec.name} failed: {row.error}")
    if board is not None:
        typer.echo(f"page: {html or root / PAGE_FILE}")
