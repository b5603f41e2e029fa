"""`dragoman data`: what a recipe's text is, before any training."""

from __future__ import annotations

import enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.console import note, one_line, print_json, print_table
from training.score_cli import score
from training.synthesis_cli import synthesize
from training.train_cli import DataFolder, Json, Overrides, RecipeName

if TYPE_CHECKING:
    from training.build.report import DataReport
    from training.corpus.segment import Segment
    from training.inspection.profile import Profile
    from training.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Training text: build it, look at it, make more.")


class Chosen(enum.StrEnum):
    """What a preference prefers."""

    REFERENCE = "reference"
    BEST = "best"


SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Count rows that cannot be read, and go on.")
]
_SHOWN = 5


@app.command(epilog="Example: dragoman data build jupyter-en-fr --out data/")
def build(
    recipe: RecipeName,
    *,
    overrides: Overrides = None,
    data: DataFolder = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files.")] = None,
    by_language: Annotated[
        bool,
        typer.Option("--by-language", help='Lines such as {"en": …, "fr": …}, for other tools.'),
    ] = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Read, clean and split a recipe's text; write train, dev and test as JSONL, and a report.

    Memory stays the same however large the text is, and all cores work. Stopped in the midst it
    leaves the folder as it was.
    """
    from training.build.build import build_data
    from training.build.report import REPORT_FILE

    config = _load(recipe, overrides, data)
    folder = out or Path(f"{config.id}-data")
    report = build_data(config, folder, skip_bad=skip_bad, by_language=by_language)
    if as_json:
        print_json({"folder": str(folder), **report.to_json()})
        return
    _show_counts(report)
    typer.echo(f"written: {folder}/{{train,dev,test}}.jsonl and {folder}/{REPORT_FILE}")


@app.command(epilog="Example: dragoman data inspect jupyter-en-fr --set clean.max_chars=200")
def inspect(
    recipe: RecipeName,
    *,
    overrides: Overrides = None,
    data: DataFolder = None,
    skip_bad: SkipBad = False,
    html: Annotated[
        Path | None, typer.Option(help="Write it all as a page with plots: one file, offline.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show counts, lengths, samples, and what each rule rejected. Writes nothing but the page."""
    from training.build.build import build_data
    from training.corpus.segment import Segment
    from training.inspection.page import write_page

    config = _load(recipe, overrides, data)
    with TemporaryDirectory(prefix="dragoman-data-") as parent:
        folder = Path(parent) / "data"
        report = build_data(config, folder, skip_bad=skip_bad)
        profile = _profile(folder)
    body = {"id": str(config.id), **report.to_json(), **profile.to_json()}
    if html is not None:
        write_page(body, html)
        note(f"written: {html}")
    if as_json:
        print_json(body)
        return
    _show_counts(report)
    lengths = body["chars"]
    names = list(lengths["source"])
    rows = [[side, *(values[name] for name in names)] for side, values in lengths.items()]
    print_table(["characters", *names], rows, title="\nlengths")
    samples = map(Segment.from_json, body["samples"]["train"][:_SHOWN])
    _show_segments("\nsamples", [("train", segment) for segment in samples])
    _show_rejected(report)
    _show_pages(report)


@app.command(epilog="Example: dragoman data prefer jupyter-en-fr --out preferences.jsonl")
def prefer(
    recipe: RecipeName,
    *,
    out: Annotated[Path, typer.Option(help="The JSON Lines file to write.")],
    overrides: Overrides = None,
    data: DataFolder = None,
    adapter: Annotated[
        str | None, typer.Option(help="Folder or id of the adapter that translates, not the base.")
    ] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry that has the adapter.")] = None,
    candidates: Annotated[int, typer.Option(min=1, max=64, help="Translations a segment.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.01, max=2.0, help="Of the sampling.")] = 1.0,
    segments: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    chosen: Annotated[Chosen, typer.Option(help="What is preferred.")] = Chosen.REFERENCE,
    min_margin: Annotated[
        float,
        typer.Option(min=0, max=100, help="chrF++ points between the chosen and the rejected."),
    ] = 5.0,
) -> None:
    """Translate a recipe's training segments several times; write chosen and rejected as JSONL.

    The rejected translation is the one least like the reference by sentence chrF++. Dev and test
    segments stay out of it. The file is a source for objective.kind: dpo or cpo.
    """
    from adapters.base_model import BaseModelRef
    from adapters.locations import bases_root, default_registry
    from adapters.registry import FileRegistry
    from training.base_models import resolve_base
    from training.corpus.segment import write_jsonl
    from training.objective import CandidateRule
    from training.objectives.prefer import make_preferences
    from training.prepare import prepare
    from training.start import find_start

    rule = CandidateRule(
        per_segment=candidates,
        temperature=temperature,
        segments=segments,
        chosen=chosen.value,
        min_margin=min_margin,
    )
    config = _load(recipe, overrides, data)
    prepared = prepare(config)
    base = resolve_base(config.base, root=bases_root(), say=note)
    folder = None
    if adapter is not None:
        known = FileRegistry(registry or default_registry())
        folder = find_start(adapter, Path(), known, BaseModelRef.read(base))
    made = make_preferences(prepared.train[:segments], config, base, rule, folder)
    write_jsonl(made, out)
    typer.echo(f"written: {out}, {len(made)} preferences")


app.command(
    epilog="Example: dragoman data synthesize jupyter-en-fr --back --out synthetic.jsonl "
    "--url http://127.0.0.1:8000 --model gemma3-27b"
)(synthesize)
app.command(epilog="Example: dragoman data score jupyter-en-fr --out scored.jsonl --drop 0.1")(
    score
)


def _load(name: str, overrides: list[str] | None, folder: Path | None) -> Recipe:
    from training.recipe import Recipe

    config = Recipe.load(name, overrides=overrides or (), folder=folder)
    note(f"{config.id}: reading {', '.join(source.location for source in config.data)} …")
    return config


def _profile(folder: Path) -> Profile:
    from training.corpus.segment import written
    from training.corpus.source import PARTS
    from training.inspection.profile import Profile

    profile = Profile()
    for part in PARTS:
        for segment in written(folder / f"{part}.jsonl"):
            profile.add(part, segment)
    return profile


def _show_counts(report: DataReport) -> None:
    print_table(
        ["source", "licence", "pairs"],
        [[source.name, source.licence, source.segments] for source in report.sources],
    )
    dropped = [[name, -count] for name, count in report.clean["dropped"].items() if count]
    parts = [[name, report.split[name]] for name in ("train", "dev", "test")]
    rows = [["read", report.clean["read"]], *dropped, ["kept", report.clean["kept"]], *parts]
    print_table(["step", "pairs"], rows, title=f"\nsplit by {report.split['by']}")
    if pairs := report.split.get("pairs"):
        columns = ["train", "drawn", "dev", "test"]
        by_pair = [
            [name, *(sizes.get(column, "") for column in columns)] for name, sizes in pairs.items()
        ]
        print_table(["pair", "train", "drawn an epoch", "dev", "test"], by_pair)
    for line in report.lost():
        note(line)
    if report.reading["bad"]:
        note(f"{report.reading['bad']} rows cannot be read and were skipped, for example")
        for line in report.reading["shown"]:
            note(line)


def _show_rejected(report: DataReport) -> None:
    from training.corpus.segment import Segment

    rejected = [
        (rule, Segment.from_json(s))
        for rule, samples in report.clean["samples"].items()
        for s in samples[:_SHOWN]
    ]
    if rejected:
        _show_segments("\nrejected", rejected)


def _show_pages(report: DataReport) -> None:
    """Show the pages of which least was aligned."""
    pages = sorted(report.reading["pages"], key=lambda page: page["aligned"] - page["blocks"])
    if pages:
        rows = [[page["name"], page["blocks"], page["aligned"]] for page in pages[:_SHOWN]]
        print_table(["page", "blocks", "aligned"], rows, title="\nleast aligned pages")


def _show_segments(title: str, labelled: list[tuple[str, Segment]]) -> None:
    rows = [
        [label, one_line(s.source), one_line(s.target), f"{Path(s.path).name}:{s.line}"]
        for label, s in labelled
    ]
    print_table(["", "source", "target", "from"], rows, title=title)
