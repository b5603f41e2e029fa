"""`dragoman base`: fetch, list and fingerprint base models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from adapters.console import note, print_json, print_table
from adapters.errors import BaseModelNotFound, DataInvalid
from adapters.locations import bases_root

app = typer.Typer(no_args_is_help=True, help="Base models: fetch, list, fingerprint.")

_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command(epilog="Example: dragoman base fetch gemma3-270m")
def fetch(
    name: Annotated[str, typer.Argument(help="A known name, or a hub id (org/name).")],
    *,
    force: Annotated[bool, typer.Option(help="Make it again though it is there.")] = False,
    as_json: _Json = False,
) -> None:
    """Make a base model's folder in the user's cache, ready for training and serving."""
    from training import base_models

    def say(step: str) -> None:
        note(f"{name}: {step} …")

    root = bases_root()
    if name in base_models.KNOWN or "/" not in name:
        folder = base_models.fetch(name, root=root, force=force, say=say)
    else:
        folder = base_models.resolve_base(name, root=root, say=say)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        typer.echo(folder)


@app.command("list", epilog="Example: dragoman base list --json")
def list_bases(*, as_json: _Json = False) -> None:
    """List the base models that can be fetched, and the folders of those that were."""
    from adapters.base_model import read_card
    from training.base_models import KNOWN

    root = bases_root()
    known = [
        {
            "name": base.name,
            "parameters": base.parameters,
            "licence": base.licence,
            "source": base.source,
            "folder": str(root / base.name) if read_card(root / base.name) else None,
        }
        for base in KNOWN.values()
    ]
    others = [
        {
            "name": card["name"],
            "parameters": "",
            "licence": card.get("licence", ""),
            "source": card.get("source", ""),
            "folder": str(folder),
        }
        for folder in sorted(root.glob("[!.]*"))
        if (card := read_card(folder)) and folder.name not in KNOWN
    ]
    rows = known + others
    if as_json:
        print_json(rows)
        return
    print_table(
        ("name", "parameters", "licence", "source", "folder"),
        [(*list(row.values())[:-1], row["folder"] or "not fetched") for row in rows],
    )


@app.command(epilog="Example: dragoman base fingerprint gemma3-270m")
def fingerprint(
    name_or_path: Annotated[str, typer.Argument(help="A known name or a model folder.")],
    *,
    as_json: _Json = False,
) -> None:
    """Print what adapters are bound to: a hash over config, tokenizer and weights."""
    from adapters.base_model import BaseModelRef
    from training.base_models import resolve_base

    folder = resolve_base(name_or_path, root=bases_root(), say=note)
    reference = BaseModelRef.read(Path(folder))
    if as_json:
        print_json(reference.model_dump())
    else:
        typer.echo(reference.fingerprint)


@app.command(epilog="Example: dragoman base trim gemma3-270m --as gemma3-fr --recipe jupyter-en-fr")
def trim(
    name_or_path: Annotated[str, typer.Argument(help="A known name or a model folder.")],
    *,
    new_name: Annotated[str, typer.Option("--as", help="What recipes will call it.")],
    recipe: Annotated[
        list[str] | None, typer.Option(help="Keep what its training text needs; repeatable.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Text or JSON Lines; repeatable."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Relative paths of recipes start here.")] = None,
    size: Annotated[int, typer.Option(min=256, help="About so many tokens are kept.")] = 65536,
    as_json: _Json = False,
) -> None:
    """Make a smaller base: the same model with the vocabulary of your languages only.

    Adapters are bound to the base they were trained on, so train them and serve them on this one.
    """
    from training.base_models import resolve_base
    from training.trimmed_base import read_texts, texts_of, trim

    if not (recipe or text):
        raise DataInvalid("nothing says which tokens to keep; add --recipe or --text")
    folder = bases_root() / new_name
    if folder.exists() or "/" in new_name:
        raise BaseModelNotFound(f"{folder} cannot be made: it is there, or no name; use another")
    base = resolve_base(name_or_path, root=bases_root(), say=note)
    texts = [line for path in text or () for line in read_texts(path)]
    for name in recipe or ():
        texts += texts_of(name, base, data)
    note(f"{new_name}: counting the tokens of {len(texts)} texts, cutting {base.name} …")
    made = trim(base, texts, folder, size=size, name=new_name)
    if as_json:
        print_json({"name": new_name, "folder": str(folder), **dataclasses.asdict(made)})
        return
    share = made.vocab_size / made.vocab_size_before
    note(f"{made.vocab_size} of {made.vocab_size_before} tokens kept ({share:.0%}); use it with")
    note(f"--set base={new_name} in training, --base {new_name} in serving")
    typer.echo(folder)
