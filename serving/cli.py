"""`dragoman serve`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from adapters.console import print_json
from adapters.locations import cache_root
from serving.settings import ServingSettings, load_settings, read_settings

_EPILOG = (
    "Example: dragoman serve --base gemma3-270m --registry ./registry -- --max-num-seqs 64. "
    "Everything after -- goes to vLLM unchanged. `dragoman serve --check --config serving.yaml` "
    "starts nothing. SIGHUP reads keys and limits again."
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
    trust_network: Annotated[
        bool | None,
        typer.Option("--trust-network", help="Answer others without keys: who may is said before."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Print what would be served, or every fault (exit 2).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the vLLM command only.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check or --dry-run: print JSON.")
    ] = False,
) -> None:
    """Serve a base model and every adapter of a registry, OpenAI-compatible."""
    from serving.launch import flag_of_vllm

    after = vllm_flags or ()
    # vLLM's own --host, after `--`, wins; whether keys are needed is decided by that one.
    host_there = flag_of_vllm(after, "--host")
    flags = {
        "base": base, "registry": registry, "host": host if host_there is None else host_there,
        "port": port, "max_loras": max_loras, "max_cpu_loras": max_cpu_loras,
        "max_lora_rank": max_lora_rank, "max_model_len": max_model_len,
        "trust_network": trust_network,
    }  # fmt: skip
    if check:
        from serving.check import check as print_check

        raise typer.Exit(print_check(read_settings(flags, config=config), after, as_json=as_json))
    read = partial(load_settings, flags, config=config)
    if dry_run:
        _print_plan(read(), after, as_json=as_json)
        return
    raise typer.Exit(_serve(read, after))


def _print_plan(settings: ServingSettings, vllm_flags: Sequence[str], *, as_json: bool) -> None:
    from serving.launch import find_base, plan

    launch = plan(settings, find_base(settings.base), vllm_flags)
    if as_json:
        print_json({"command": launch.command, "environment": launch.environment})
    else:
        typer.echo(launch.as_shell())


def _serve(read: Callable[[], ServingSettings], vllm_flags: Sequence[str]) -> int:
    from serving.door.ledger import open_ledger
    from serving.launch import find_base, plan
    from serving.supervisor import Supervisor, notes_of

    settings = read()
    launch = plan(settings, find_base(settings.base), vllm_flags)
    open_ledger(settings.usage, cache_root())  # before a minute's start shows that it cannot be
    notes_of(settings)(f"starting {settings.base} with the adapters in {settings.registry}")
    return Supervisor(launch, settings, read).run()
