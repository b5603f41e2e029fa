"""The `dragoman` command: mounts the sub-commands, imports nothing heavy."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final, NoReturn

import typer

_OUR_MARK: Final = "vocabulary that training and serving share"


def main() -> None:
    """Run the command line; exit 0, 1 (failed) or 2 (bad usage)."""
    if complaint := foreign_adapters():
        _fail("start_refused", complaint)
    from adapters.errors import DragomanError

    arguments, debug = _without_debug(sys.argv[1:])
    try:
        build_app()(args=arguments, prog_name="dragoman")
    except DragomanError as error:
        if debug:
            raise
        _fail(error.code, str(error))
    except BrokenPipeError:
        # `dragoman … | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        detail = f"{type(error).__name__}: {error}"
        _fail("internal_error", f"{detail}; --debug shows where, please report it")


def _fail(code: str, message: str) -> NoReturn:
    sys.stderr.write(f"error[{code}]: {message}\n")
    sys.exit(1)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    # What follows `--` is vLLM's and stays as it is.
    own_end = arguments.index("--") if "--" in arguments else len(arguments)
    own = [a for a in arguments[:own_end] if a != "--debug"]
    return own + arguments[own_end:], len(own) < own_end


def build_app() -> typer.Typer:
    """Return the command tree."""
    import adapters.cli
    import loadtests.cli
    import serving.cli
    import serving.keys_cli
    import serving.usage_cli
    import training.artefacts_cli
    import training.base_cli
    import training.compare_cli
    import training.data_cli
    import training.eval_cli
    import training.train_cli
    import training.translate_cli

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="One base model, many translation adapters. --debug shows tracebacks.",
    )
    app.add_typer(training.base_cli.app, name="base")
    app.add_typer(training.data_cli.app, name="data")
    app.command("train")(training.train_cli.train)
    app.command("translate")(training.translate_cli.translate)
    app.command("eval")(training.eval_cli.evaluate)
    app.command("compare")(training.compare_cli.compare)
    app.command("export")(training.translate_cli.export)
    group = typer.Typer(no_args_is_help=True, help=adapters.cli.app.info.help)
    group.add_typer(adapters.cli.app)
    group.add_typer(training.artefacts_cli.app)
    app.add_typer(group, name="adapters")
    app.add_typer(loadtests.cli.app, name="bench")
    serving.cli.mount(app)
    app.add_typer(serving.keys_cli.app, name="keys")
    serving.usage_cli.mount(app)
    return app


def foreign_adapters() -> str | None:
    """Return a complaint if `adapters` is the unrelated package of that name on PyPI.

    Looks without importing: that package pulls in all of transformers, or fails to.
    """
    ours = Path(__file__).resolve().parent / "adapters"
    spec = importlib.util.find_spec("adapters")
    found = [Path(p).resolve() for p in (spec and spec.submodule_search_locations) or ()]
    init = ours / "__init__.py"
    # Installed into one site-packages, the two overwrite each other's files.
    if found == [ours] and init.is_file() and _OUR_MARK in init.read_text(encoding="utf-8"):
        return None
    return (
        f"`import adapters` finds {', '.join(map(str, found)) or 'nothing'}, expected {ours} as "
        "dragoman installs it; another package of that name is in the way: "
        "`pip uninstall adapters`, then install dragoman again"
    )


if __name__ == "__main__":
    main()
