"""`dragoman translate` and `dragoman export`: what was trained, without a server."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.cli import RegistryOption
from adapters.console import note, print_json, progress
from adapters.errors import DataInvalid
from training.train_cli import Json
from training.translate.note import ModelNote, Precision

if TYPE_CHECKING:
    from training.evaluate.generate import Generated
    from training.translate.note import Engine
    from training.translate.translator import Translator

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="Folder of a run or of an exported model.")
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", help="An adapter of the registry: ID or ID@VERSION.")
]
BaseOption = Annotated[
    Path | None, typer.Option("--base", help="The base's folder, if it is elsewhere now.")
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Source language, where the model is told it.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="Target language, where the model is told it.")
]
BeamsOption = Annotated[
    int, typer.Option(min=1, max=64, help="Beams of sequence-to-sequence models; 1 is greedy.")
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Texts decoded together.")]

_LINES_OF_PROGRESS = 200
_BREAKS = str.maketrans({"\n": " ", "\r": " "})


def translate(
    texts: Annotated[
        str, typer.Argument(metavar="[TEXT|FILE|-]", help="A text, a file of lines, or stdin.")
    ] = "-",
    *,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    registry: RegistryOption = None,
    base: BaseOption = None,
    source: FromOption = None,
    target: ToOption = None,
    beams: BeamsOption = 1,
    batch: BatchOption = 32,
    as_json: Json = False,
) -> None:
    """Translate lines with a trained model, here and without a server.

    Each line is a text of its own and gives one line; empty lines stay empty.

    Example: dragoman translate --model RUN "Open the file."
    """
    lines = read_lines(texts)
    translator = open_model(
        model, adapter, registry, base, (source, target), beams=beams, batch=batch
    )
    answers = translate_lines(translator, lines)
    cut = sum(answer is not None and not answer.stopped for answer in answers)
    outputs = [answer.text.translate(_BREAKS) if answer else "" for answer in answers]
    if as_json:
        body = [
            {"source": line, "translation": text, "complete": answer is None or answer.stopped}
            for line, text, answer in zip(lines, outputs, answers, strict=True)
        ]
        print_json({"pair": str(translator.pair), "translations": body})
        return
    for text in outputs:
        typer.echo(text)
    if cut:
        note(f"{cut} of {len(lines)} translations ran into their limit of tokens")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the model.")],
    *,
    precision: Annotated[
        Precision, typer.Option(help="Of the weights that CTranslate2 keeps.")
    ] = Precision.INT8,
    as_json: Json = False,
) -> None:
    """Merge a run into one model without a base; for CTranslate2 where it knows the architecture.

    Example: dragoman export RUN model/ && dragoman translate --model model/ "Open the file."
    """
    _quiet()
    ModelNote.read(run)  # a wrong path is told before torch is loaded
    from training.translate.export import export as export_model

    engine: Engine = export_model(run, out, precision)
    if as_json:
        print_json({"folder": str(out), "engine": engine})
    else:
        typer.echo(f"exported for {engine}: {out}")


def open_model(
    model: Path | None,
    adapter: str | None,
    registry: Path | None,
    base: Path | None,
    languages: tuple[str | None, str | None],
    *,
    beams: int,
    batch: int,
) -> Translator:
    """Return the model that the options name. Raises BadParameter unless they name one."""
    from adapters.locations import default_registry
    from adapters.registry import FileRegistry
    from training.translate.opening import Languages, open_folder, open_published
    from training.translate.translator import Decoder

    if (model is None) == (adapter is None):
        raise typer.BadParameter("name one model: --model DIR, or --adapter ID")
    asked, decoder = Languages(*languages), Decoder(beams=beams, batch_size=batch)
    _quiet()
    if model is not None:
        return open_folder(model, languages=asked, decoder=decoder, base=base)
    from adapters.ids import AdapterRef

    published = FileRegistry(registry or default_registry()).resolve(AdapterRef.parse(str(adapter)))
    return open_published(published, languages=asked, decoder=decoder, base=base)


def translate_lines(translator: Translator, lines: list[str]) -> list[Generated | None]:
    """Return an answer for each line; None for blank ones, which no model is asked about."""
    asked = [n for n, line in enumerate(lines) if line.strip()]
    with progress("translate", total=len(asked)) as advance:
        shown = advance if len(asked) >= _LINES_OF_PROGRESS else None
        found = translator.translate([lines[n] for n in asked], shown)
    answers: list[Generated | None] = [None] * len(lines)
    for n, answer in zip(asked, found, strict=True):
        answers[n] = answer
    return answers


def read_lines(texts: str) -> list[str]:
    """Return the lines of a file, of stdin for `-`, or of the text itself. Raises DataInvalid."""
    path = Path(texts)
    if texts == "-":
        data, name = sys.stdin.buffer.read(), "standard input"
    elif _is_file(path):
        data, name = path.read_bytes(), texts
    else:
        return texts.split("\n")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataInvalid(
            f"{name}: byte {error.start + 1} is not UTF-8; convert the file, for example with "
            "`iconv -f LATIN1 -t UTF-8`"
        ) from error
    if not text.strip():
        raise DataInvalid(f"{name}: expected lines of text, found none")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds a NUL
        return False


def _quiet() -> None:
    # On import it warns that 4-bit kernels are missing, which nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
