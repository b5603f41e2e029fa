"""`dragoman adapters`: look at the registry, check it, move its names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from adapters.base_prompt import prompt_for_base
from adapters.console import note, print_json, print_table
from adapters.errors import DragomanError, InvalidId, PromptInvalid
from adapters.ids import AdapterId, AdapterRef, LanguagePair
from adapters.importing import ImportedContract, detect_base, draft_of, find_adapter
from adapters.locations import bases_root, default_registry
from adapters.manifest import AdapterManifest, describe
from adapters.prompt import PromptFormat
from adapters.registry import FileRegistry, Published
from adapters.verify import verify_adapter

app = typer.Typer(no_args_is_help=True, help="The adapters of a registry: versions and names.")

RegistryOption = Annotated[
    Path | None,
    typer.Option("--registry", help="Registry folder [default: $DRAGOMAN_REGISTRY or the cache]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RefArgument = Annotated[str, typer.Argument(help="ID, ID@VERSION, ID@ALIAS or ID@sha256:…")]


def _open(registry: Path | None) -> FileRegistry:
    return FileRegistry(registry or default_registry())


def _summary(published: Published, aliases: dict[str, int]) -> dict[str, Any]:
    manifest = published.manifest
    return {
        "id": str(manifest.id),
        "version": manifest.version,
        "digest": manifest.digest,
        "aliases": sorted(a for a, v in aliases.items() if v == manifest.version),
        "base": manifest.base.name,
        "rank": manifest.weights.rank,
        "created": manifest.created.isoformat(timespec="seconds"),
        "scores": {score.metric: score.value for score in manifest.scores},
        "folder": str(published.folder),
    }


@app.command("list", epilog="Example: dragoman adapters list --registry ./registry")
def list_adapters(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List every version of every adapter."""
    store = _open(registry)
    rows = [
        _summary(version, store.aliases(adapter_id))
        for adapter_id in store.ids()
        for version in store.versions(adapter_id)
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        note(f"{store.root}: no adapters yet; `dragoman train RECIPE --publish` makes one")
        return
    keys = ("id", "version", "aliases", "base", "rank", "created")
    cells = [[", ".join(r[k]) if k == "aliases" else r[k] for k in keys] for r in rows]
    print_table(
        (*keys, "chrF++", "digest"),
        [
            [*cell, f"{row['scores'].get('chrF++', float('nan')):.1f}", row["digest"][7:19]]
            for cell, row in zip(cells, rows, strict=True)
        ],
    )


@app.command(epilog="Example: dragoman adapters show jupyter-en-fr@2 --json")
def show(ref: RefArgument, registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """Show one version: its contract, scores and files."""
    store = _open(registry)
    published = store.resolve(AdapterRef.parse(ref))
    if as_json:
        print_json(json.loads(published.manifest.to_json()))
        return
    summary = _summary(published, store.aliases(published.manifest.id))
    prompt = published.manifest.prompt.render("…", published.manifest.pairs[0])
    print_table(("field", "value"), [*summary.items(), ("prompt", prompt)])


@app.command(epilog="Example: dragoman adapters verify jupyter-en-fr --base gemma3-270m")
def verify(
    ref: Annotated[str | None, typer.Argument(help="One version; default: all.")] = None,
    registry: RegistryOption = None,
    base: Annotated[str | None, typer.Option(help="Base model whose shapes must fit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check files, hashes, shapes, ranks and finiteness; exit 1 if anything is wrong."""
    store = _open(registry)
    refs = [AdapterRef.parse(ref)] if ref else [AdapterRef(i) for i in store.ids()]
    results = []
    for one in refs:
        versions = [store.resolve(one)] if ref else store.versions(one.id)
        results += [_verified(version, base) for version in versions]
    if as_json:
        print_json(results)
    else:
        print_table(("version", "result"), [(r["name"], r["error"] or "ok") for r in results])
    if any(r["error"] for r in results):
        raise typer.Exit(1)


def _verified(published: Published, base: str | None) -> dict[str, str | None]:
    error = code = None
    try:
        verify_adapter(published.folder, published.manifest, base=_base_folder(base))
    except DragomanError as fault:
        error, code = str(fault), fault.code
    name = f"{published.manifest.id}@{published.manifest.version}"
    return {"name": name, "digest": published.manifest.digest, "code": code, "error": error}


@app.command(epilog="Example: dragoman adapters publish ./runs/x/adapter --registry ./registry")
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder with manifest.json and the adapter.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a folder that has a manifest as the next version; `stable` moves only for the first."""
    store = _open(registry)
    _report(store, store.publish(AdapterManifest.read(folder), folder), as_json)


@app.command(epilog="Example: dragoman adapters promote jupyter-en-fr@2")
def promote(
    ref: RefArgument,
    alias: Annotated[str, typer.Option(help="The name that moves.")] = "stable",
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Point an alias (default: stable) to a version; running servers follow at once."""
    store = _open(registry)
    published = store.resolve(AdapterRef.parse(ref))
    store.set_alias(published.manifest.id, alias, published.manifest.version)
    _report(store, published, as_json)


@app.command(epilog="Example: dragoman adapters rollback jupyter-en-fr")
def rollback(
    adapter_id: Annotated[str, typer.Argument(metavar="ID")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Point `stable` back to what it pointed to before."""
    store = _open(registry)
    _report(store, store.rollback(AdapterId.parse(adapter_id)), as_json)


@app.command(
    "import",
    epilog="Example: dragoman adapters import ./my-lora --id legal-en-de --licence CC-BY-4.0 "
    "--user 'Translate to {target}: {text}'",
)
def import_adapter(
    source: Annotated[str, typer.Argument(metavar="PATH|HF_ID", help="A PEFT LoRA folder.")],
    adapter_id: Annotated[str, typer.Option("--id", prompt=True, help="DOMAIN-SOURCE-TARGET.")],
    licence: Annotated[str, typer.Option(prompt=True, help="Licence of the adapter.")],
    pair: Annotated[list[str] | None, typer.Option(help="Pairs of a DOMAIN-mul id.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model: name or folder.")] = None,
    user: Annotated[str, typer.Option(help="User message that it was trained on.")] = "{text}",
    system: Annotated[str | None, typer.Option(help="System message, if any.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="PromptFormat as JSON instead.")] = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn an existing PEFT LoRA into a version; base and chat template are detected."""
    store = _open(registry)
    name = AdapterId.parse(adapter_id)
    pairs = tuple(LanguagePair.parse(p) for p in pair or ()) or ((name.pair,) if name.pair else ())
    if not pairs:
        raise InvalidId(f"{name}: an adapter of several pairs needs --pair for each of them")
    folder = find_adapter(source)
    base_folder = _base_folder(base) or detect_base(folder)
    fmt = (
        _read_prompt(prompt) if prompt else prompt_for_base(base_folder, user=user, system=system)
    )
    draft = draft_of(folder, base_folder, ImportedContract(name, pairs, fmt, licence))
    _report(store, store.publish(draft, folder), as_json)


def _read_prompt(path: Path) -> PromptFormat:
    try:
        return PromptFormat.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        fault = describe(error) if isinstance(error, ValidationError) else error
        raise PromptInvalid(f"{path}: {fault}") from error


def _base_folder(base: str | None) -> Path | None:
    if base is None:
        return None
    folder = Path(base)
    return folder if folder.is_dir() else bases_root() / base


def _report(store: FileRegistry, published: Published, as_json: bool) -> None:
    summary = _summary(published, store.aliases(published.manifest.id))
    if as_json:
        print_json(summary)
    else:
        names = ", ".join(summary["aliases"]) or "no alias: promote it to serve it by default"
        print_table(("field", "value"), [*summary.items(), ("served as", names)][:4] + [("folder", summary["folder"])])
