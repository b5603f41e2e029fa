"""`dragoman keys`: make an API key, or the hash of one that exists."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Annotated, Any, Final

import typer

from adapters.console import note, print_json
from adapters.strict.document import Document
from adapters.strict.faults import faults_of
from serving.door.key import Key, hash_of, new_secret
from serving.settings_rules import fault_of_pattern

# Nobody can guess so many characters, unless they are words: an unsalted hash hides no others.
_SHORTEST: Final = 20

app = typer.Typer(no_args_is_help=True, help="API keys: make one, or hash one that exists.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(
    epilog="Example: dragoman keys new shop --adapters 'shop-*' --adapters k8s-en-fr. The key is "
    "printed once, to stdout; the lines for serving.yaml, with its hash, to stderr."
)
def new(
    name: Annotated[str, typer.Argument(help="How logs and usage call its holder.")],
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="Adapter ids that exist for it, * for any part; all, if not given."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It opens /metrics and usage.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key: give it to its holder, and the lines with its hash to serving.yaml."""
    secret = new_secret()
    values: dict[str, Any] = {"name": name, "hash": hash_of(secret)}
    values |= {"adapters": adapters} if adapters else {}
    values |= {"admin": True} if admin else {}
    _require_valid(values)
    if as_json:
        print_json({"key": secret, **values})
        return
    typer.echo(secret)
    note("Above is the key; it cannot be shown again. For serving.yaml:\n")
    note("keys:")
    for mark, (field, value) in zip(["-", *"   "], values.items(), strict=False):
        note(f"  {mark} {field}: {_yaml(value)}")


@app.command(
    "hash",
    epilog="Example: dragoman keys hash < key.txt. Without a file or pipe it asks for the key.",
)
def hash_key(as_json: JsonOption = False) -> None:
    """Print the hash, for serving.yaml, of a key that exists already; reads it from stdin."""
    secret = getpass.getpass("key: ") if _is_typed() else sys.stdin.read()
    secret = secret.rstrip("\r\n")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise typer.BadParameter("a key has one line of ASCII letters, digits and signs")
    if len(secret) < _SHORTEST:
        raise typer.BadParameter(
            f"found {len(secret)} characters, expected {_SHORTEST} or more: a short key can be "
            "guessed from its hash; `dragoman keys new NAME` makes one"
        )
    hashed = hash_of(secret)
    if as_json:
        print_json({"hash": hashed})
    else:
        typer.echo(hashed)


def _is_typed() -> bool:
    return sys.stdin.isatty()


def _require_valid(values: dict[str, Any]) -> None:
    _, found = faults_of(Key, Document("key", dict(values)))
    faults = [fault.message for fault in found]
    faults += filter(None, map(fault_of_pattern, values.get("adapters", ())))
    if faults:
        raise typer.BadParameter("; ".join(faults))


def _yaml(value: Any) -> str:
    # A pattern that begins with * would be an alias, a name of digits a number.
    return json.dumps(value)
