"""`dragoman adapters`: look at the registry, check it, move its names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from adapters.base_model import BaseModelRef
from adapters.base_prompt import prompt_for_base
from adapters.console import note, print_json, print_table
from adapters.errors import BaseModelMismatch, DragomanError, PromptInvalid
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
    rows, faults = [], 0
    for adapter_id in store.ids():
        # One broken version, or one broken adapter, must not hide the others.
        try:
            aliases, numbers = store.aliases(adapter_id), store.numbers(adapter_id)
        except DragomanError as error:
            note(f"error[{error.code}]: {error}")
            faults += 1
            continue
        for number in numbers:
            try:
                version = store.resolve(AdapterRef(adapter_id, str(number)))
                rows.append(_summary(version, aliases))
            except DragomanError as error:
                note(f"error[{error.code}]: {error}")
                faults += 1
    if as_json:
        print_json(rows)
    elif rows:
        _print_rows(rows)
    elif not faults:
        note(f"{store.root}: no adapters yet; `dragoman train RECIPE --publish` makes one")
    if faults:
        raise typer.Exit(1)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    def cells(row: dict[str, Any]) -> list[object]:
        chrf = row["scores"].get("chrF++")
        names = ", ".join(row["aliases"])
        score = "" if chrf is None else f"{chrf:.1f}"
        digest12 = row["digest"].removeprefix("sha256:")[:12]
        return [row["id"], row["version"], names, row["base"], row["rank"], score, digest12]

    print_table(
        ("id", "version", "aliases", "base", "rank", "chrF++", "digest"), [*map(cells, rows)]
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
    base: Annotated[str | None, typer.Option(help="Base model that they must fit.")] = None,
    max_rank: Annotated[
        int | None, typer.Option(min=1, help="The server's --max-lora-rank.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check files, hashes, shapes, ranks and finiteness; exit 1 if anything is wrong."""
    store = _open(registry)
    base_folder = _base_folder(base)
    running = BaseModelRef.read(base_folder) if base_folder else None
    results = []
    for name, one in _refs(store, ref):
        error = code = digest = None
        try:
            published = store.resolve(one)
            digest = published.manifest.digest
            if running and running.fingerprint != published.manifest.base.fingerprint:
                raise BaseModelMismatch(
                    f"{name} was trained on {published.manifest.base}, --base is {running}; "
                    "retrain it, or name its own base"
                )
            verify_adapter(
                published.folder, published.manifest, max_rank=max_rank, base=base_folder
            )
        except DragomanError as fault:
            error, code = str(fault), fault.code
        results.append({"name": name, "digest": digest, "code": code, "error": error})
    if as_json:
        print_json(results)
    else:
        print_table(
            ("version", "result"),
            [(r["name"], f"{r['code']}: {r['error']}" if r["error"] else "ok") for r in results],
        )
    if any(r["error"] for r in results):
        raise typer.Exit(1)


def _refs(store: FileRegistry, ref: str | None) -> list[tuple[str, AdapterRef]]:
    if ref is not None:
        one = AdapterRef.parse(ref)
        store.numbers(one.id)  # AdapterNotFound is the caller's fault, not the adapter's
        return [(str(one), one)]
    refs = [AdapterRef(i, str(number)) for i in store.ids() for number in store.numbers(i)]
    return [(str(one), one) for one in refs]


@app.command(epilog="Example: dragoman adapters publish ./runs/x/adapter --registry ./registry")
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder with manifest.json and the adapter.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a folder that has a manifest as the next version; `stable` moves only for the first."""
    store = _open(registry)
    _report(store, store.publish(AdapterManifest.read_draft(folder), folder), as_json)


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


@app.command(epilog="Example: dragoman adapters remove jupyter-en-fr@1")
def remove(
    ref: RefArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if a name points to it.")] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove one version, ID@VERSION; its number is never given again.

    Running servers finish what they began with it.
    """
    store, one = _open(registry), AdapterRef.parse(ref)
    if one.version is None:
        raise typer.BadParameter(f"{ref}: name the version itself, as {one.id}@3")
    store.remove(one.id, one.version, force=force)
    if as_json:
        print_json({"id": str(one.id), "version": one.version})
    else:
        note(f"removed {one}")


@app.command(
    "import",
    epilog="Example: dragoman adapters import ./my-lora --id legal-en-de --licence CC-BY-4.0 "
    "--user 'Translate to {target}: {text}'",
)
def import_adapter(
    source: Annotated[str, typer.Argument(metavar="PATH|HF_ID", help="A PEFT LoRA folder.")],
    adapter_id: Annotated[str | None, typer.Option("--id", help="DOMAIN-SOURCE-TARGET.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the adapter.")] = None,
    pair: Annotated[list[str] | None, typer.Option(help="Pairs of a DOMAIN-mul id.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model: name or folder.")] = None,
    user: Annotated[str, typer.Option(help="User message that it was trained on.")] = "{text}",
    system: Annotated[str | None, typer.Option(help="System message, if any.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="PromptFormat as JSON instead.")] = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn an existing PEFT LoRA into a version; base and chat template are detected.

    What is not given is asked for on a terminal.
    """
    store = _open(registry)
    folder = find_adapter(source)
    base_folder = _base_folder(base) or detect_base(folder)
    fmt = _read_prompt(prompt) if prompt else prompt_for_base(base_folder, user=user, system=system)
    name = AdapterId.parse(_given(adapter_id, "--id", "Id, as DOMAIN-SOURCE-TARGET"))
    pairs = tuple(LanguagePair.parse(p) for p in pair or ()) or ((name.pair,) if name.pair else ())
    if not pairs:
        raise typer.BadParameter(f"{name} is of several pairs: give --pair for each of them")
    contract = ImportedContract(
        name, pairs, fmt, _given(licence, "--licence", "Licence of the adapter")
    )
    _report(store, store.publish(draft_of(folder, base_folder, contract), folder), as_json)
    note("it has no golden answer: a server checks its files, but not that it answers as it should")


def _given(value: str | None, option: str, question: str) -> str:
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"missing option {option}: {question}")
    answer: str = typer.prompt(question, err=True)
    return answer


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
        return
    served_as = ", ".join(summary["aliases"]) or "no name yet: promote it to serve it by default"
    shown = {key: summary[key] for key in ("id", "version", "digest", "folder")}
    print_table(("field", "value"), [*shown.items(), ("served as", served_as)])
