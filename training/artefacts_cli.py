"""`dragoman adapters convert|merge|export|push`: adapters for those who serve them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.console import note, print_json, print_table, progress
from adapters.locations import default_registry
from adapters.registry import FileRegistry

app = typer.Typer()

Adapter = Annotated[
    str, typer.Argument(metavar="ADAPTER|FOLDER", help="ID, ID@VERSION, or a PEFT folder.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write, whole or not at all.")]
Base = Annotated[str | None, typer.Option(help="Base model, name or folder [default: its own].")]
RegistryOption = Annotated[
    Path | None,
    typer.Option("--registry", help="Registry folder [default: $DRAGOMAN_REGISTRY or the cache]."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command(epilog="Example: dragoman adapters convert ./run/trained --out ./lora")
def convert(
    folder: Annotated[Path, typer.Argument(help="A PEFT folder: DoRA, PiSSA, LoHa, IA3, …")],
    out: Out,
    *,
    base: Base = None,
    rank: Annotated[int | None, typer.Option(min=1, max=512, help="At most this rank.")] = None,
    begun: Annotated[
        Path | None, typer.Option(help="Initial adapter of PiSSA, OLoRA, CorDA.")
    ] = None,
    max_error: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse to lose more of the change.")
    ] = 0.3,
    as_json: Json = False,
) -> None:
    """Make a plain LoRA of another kind of adapter, and say what that lost."""
    from training.artefacts.found import base_of, find, whole
    from training.methods.conversion import check_conversion, told
    from training.methods.convert import convert as to_lora

    found = find(str(folder), FileRegistry(default_registry()))
    base_folder = base_of(found, base)
    with _whole(whole, out) as draft, _counted("convert") as on_progress:
        conversion = to_lora(
            folder, base_folder, draft, rank=rank, begun=begun, on_progress=on_progress
        )
        check_conversion(conversion, max_error, trained=str(folder))
    _report({"folder": str(out), **conversion.model_dump(mode="json")}, told(conversion), as_json)


@app.command(epilog="Example: dragoman adapters merge jupyter-en-fr --out ./merged")
def merge(
    adapter: Adapter,
    out: Out,
    *,
    base: Base = None,
    registry: RegistryOption = None,
    as_json: Json = False,
) -> None:
    """Add an adapter to its base's weights: a model of its own, for any runtime."""
    from training.artefacts.found import base_of, find, whole
    from training.artefacts.merge import merge as merge_into

    found = find(adapter, FileRegistry(registry or default_registry()))
    base_folder = base_of(found, base)
    with _whole(whole, out) as draft, _counted("merge") as on_progress:
        name = f"{base_folder.resolve().name}-{found.name}"
        merge_into(found.folder, base_folder, draft, name=name, on_progress=on_progress)
    _report({"folder": str(out), "size_bytes": _size(out)}, f"{name} in {out}", as_json)


@app.command(epilog="Example: dragoman adapters export jupyter-en-fr --to ollama --out ./ollama")
def export(
    adapter: Adapter,
    out: Out,
    *,
    to: Annotated[str, typer.Option(help="peft, ollama, gguf or vllm.")] = "peft",
    source: Annotated[
        str | None, typer.Option("--from", help="ollama: FROM [default: the base's folder].")
    ] = None,
    base: Base = None,
    registry: RegistryOption = None,
    as_json: Json = False,
) -> None:
    """Write an adapter as PEFT, llama.cpp, Ollama or plain vLLM read it; never the base."""
    from training.artefacts.export import TARGETS, export_to
    from training.artefacts.found import base_of, find, whole

    if to not in TARGETS:
        raise typer.BadParameter(f"--to {to}: expected one of {', '.join(TARGETS)}")
    found = find(adapter, FileRegistry(registry or default_registry()))
    with _whole(whole, out) as draft:
        export_to(to, found, base_of(found, base), draft, source=source)
    size = _size(out)
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    body = {"folder": str(out), "files": files, "size_bytes": size}
    _report(body, f"{', '.join(files)} in {out}, {size / 2**20:.1f} MB", as_json)


@app.command(epilog="Example: dragoman adapters push jupyter-en-fr my-name/jupyter-en-fr")
def push(
    adapter: Adapter,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub.")],
    *,
    private: Annotated[bool, typer.Option("--private", help="If it is made anew.")] = False,
    registry: RegistryOption = None,
    as_json: Json = False,
) -> None:
    """Upload an adapter, its contract and its card to a hub."""
    from training.artefacts import hub
    from training.artefacts.found import find

    found = find(adapter, FileRegistry(registry or default_registry()))
    note(f"{found.name}: uploading {_size(found.folder) / 2**20:.1f} MB …")
    where = hub.push(found.folder, repository, hub.hugging_face(), private=private)
    _report({"repository": repository, "commit": where}, f"pushed: {where}", as_json)


@contextmanager
def _whole(whole: Any, out: Path) -> Iterator[Path]:
    try:
        with whole(out) as draft:
            yield draft
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def _counted(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what takes (done, in all) and shows the modules as progress."""
    with progress(f"{description} (modules)") as advance:
        shown = 0

        def on_progress(done: int, _: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        yield on_progress


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _report(body: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        print_json(body)
    else:
        print_table(("result",), [(line,)])
