"""`dragoman serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from adapters.console import note, print_json
from adapters.locations import bases_root
from serving.settings import load_settings

_EPILOG = (
    "Example: dragoman serve --base gemma3-270m --registry ./registry -- --max-num-seqs 64. "
    "Everything after -- goes to vLLM unchanged."
)


def mount(app: typer.Typer) -> None:
    """Add `serve` to the command tree."""
    app.command(epilog=_EPILOG)(serve)


def serve(
    vllm_flags: Annotated[list[str] | None, typer.Argument(metavar="[-- VLLM_FLAGS]")] = None,
    base: Annotated[str | None, typer.Option(help="Base model: name or folder.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry folder.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="serving.yaml with any of the settings.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port [default: 8000].")] = None,
    max_loras: Annotated[int | None, typer.Option(help="Adapters in one batch.")] = None,
    max_cpu_loras: Annotated[int | None, typer.Option(help="Adapters kept in memory.")] = None,
    max_lora_rank: Annotated[int | None, typer.Option(help="Highest LoRA rank.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Prompt + answer, in tokens.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the vLLM command only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
) -> None:
    """Serve a base model and every adapter of a registry, OpenAI-compatible."""
    flags = {
        "base": base, "registry": registry, "host": host, "port": port, "max_loras": max_loras,
        "max_cpu_loras": max_cpu_loras, "max_lora_rank": max_lora_rank,
        "max_model_len": max_model_len,
    }  # fmt: skip
    settings = load_settings(flags, config=config)
    from serving.launch import plan
    from serving.supervisor import Supervisor

    launch = plan(settings, find_base(settings.base), vllm_flags or ())
    if dry_run:
        if as_json:
            print_json({"command": launch.command, "environment": launch.environment})
        else:
            typer.echo(launch.as_shell())
        return
    note(f"starting {settings.base} with the adapters in {settings.registry}")
    raise typer.Exit(Supervisor(launch, settings).run())


def find_base(base: str) -> Path:
    """Return the folder of a base model by name or path. Raises BaseModelNotFound."""
    from adapters.errors import BaseModelNotFound

    for folder in (Path(base).expanduser(), bases_root() / base):
        if (folder / "config.json").is_file():
            # Not resolve(): a link's own name is what the user calls the model.
            return Path(os.path.abspath(folder))  # noqa: PTH100
    raise BaseModelNotFound(
        f"base model {base!r} is not on this machine; `dragoman base fetch {base}` gets it, or "
        "give a folder with config.json, tokenizer.json and *.safetensors"
    )
