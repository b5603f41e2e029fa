"""The `dragoman` command: mounts the sub-commands, imports nothing heavy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer


def main() -> None:
    """Run the command line; exit 0, 1 (failed) or 2 (bad usage)."""
    if complaint := foreign_adapters():
        sys.exit(f"error[start_refused]: {complaint}")
    from adapters.errors import DragomanError

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        build_app()(args=arguments, prog_name="dragoman")
    except DragomanError as error:
        if debug:
            raise
        sys.stderr.write(f"error[{error.code}]: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        # `dragoman … | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def build_app() -> typer.Typer:
    """Return the command tree."""
    import adapters.cli
    import serving.cli
    import training.base_cli
    import training.data_cli
    import training.train_cli

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="One base model, many translation adapters. --debug shows tracebacks.",
    )
    app.add_typer(training.base_cli.app, name="base")
    app.add_typer(training.data_cli.app, name="data")
    app.command("train")(training.train_cli.train)
    app.add_typer(adapters.cli.app, name="adapters")
    serving.cli.mount(app)
    return app


def foreign_adapters() -> str | None:
    """Return a complaint if `adapters` is the unrelated package of that name on PyPI."""
    import adapters

    ours = Path(__file__).resolve().parent / "adapters"
    found = [Path(entry).resolve() for entry in adapters.__path__]
    if found == [ours]:
        return None
    return (
        f"`import adapters` finds {', '.join(map(str, found))}, expected {ours}; another package "
        "of that name is installed: `pip uninstall adapters`, then install dragoman again"
    )


if __name__ == "__main__":
    main()
