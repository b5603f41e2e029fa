"""The data phase of a run: a recipe's text, built and in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from training.build.build import build_data
from training.build.report import DataReport
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.corpus.source import PARTS
from training.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """The three parts and the report."""

    train: list[Segment]
    dev: list[Segment]
    test: list[Segment]
    report: DataReport


def prepare(recipe: Recipe, *, skip_bad: bool = False) -> Prepared:
    """Return the recipe's data, ready for training. Raises DataInvalid.

    With `skip_bad` rows that cannot be read are counted in place of an error.
    """
    with TemporaryDirectory(prefix="dragoman-data-") as parent:
        folder = Path(parent) / "data"
        build_data(recipe, folder, skip_bad=skip_bad)
        return load(folder)


def write(data: Prepared, folder: Path) -> None:
    """Write train.jsonl, dev.jsonl, test.jsonl and data.json (last: it says that all are there)."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        write_jsonl(getattr(data, part), folder / f"{part}.jsonl")
    data.report.write(folder)


def load(folder: Path) -> Prepared:
    """Return what `write` or `build` wrote."""
    train, dev, test = (load_jsonl(folder / f"{part}.jsonl") for part in PARTS)
    return Prepared(train, dev, test, DataReport.load(folder))
