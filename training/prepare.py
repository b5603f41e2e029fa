"""The data phase of a run: recipe -> corpus -> clean -> split -> JSONL files and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid
from adapters.manifest import DataSource
from training.clean.run import CleanReport, clean
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.corpus.source import Source, digest_of
from training.recipe import Recipe
from training.split import split

REPORT_FILE: Final = "data.json"
_PARTS: Final = ("train", "dev", "test")


@dataclass(frozen=True)
class DataReport:
    """Where the text came from, what cleaning dropped, and how the rest was divided."""

    sources: tuple[DataSource, ...]
    clean: dict[str, Any]
    split: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "sources": [source.model_dump(mode="json") for source in self.sources],
            "clean": self.clean,
            "split": self.split,
        }


@dataclass(frozen=True)
class Prepared:
    """The three parts and the report."""

    train: list[Segment]
    dev: list[Segment]
    test: list[Segment]
    report: DataReport


def prepare(recipe: Recipe) -> Prepared:
    """Return the recipe's data, ready for training. Raises DataInvalid."""
    kept, report, sources = gather(recipe)
    parts = split(kept, recipe.split)
    return Prepared(
        parts.train, parts.dev, parts.test, DataReport(sources, report.to_json(), parts.counts())
    )


def gather(recipe: Recipe) -> tuple[list[Segment], CleanReport, tuple[DataSource, ...]]:
    """Return the clean segments, the report on the others, and the sources' provenance."""
    read: list[DataSource] = []

    def segments() -> Iterator[Segment]:
        for source in recipe.data:
            files = source.files(recipe.folder, recipe.pair)
            count = 0
            for segment in source.read(files, recipe.pair):
                count += 1
                yield segment
            read.append(_provenance(source, files, count))

    kept, report = clean(segments(), recipe.clean)
    if not kept:
        raise DataInvalid(
            f"{recipe.id}: none of {report.read} pairs is left after cleaning "
            f"({report.dropped}); look at them with `dragoman data inspect`"
        )
    return kept, report, tuple(read)


def write(data: Prepared, folder: Path) -> None:
    """Write train.jsonl, dev.jsonl, test.jsonl and data.json (last: it says that all are there)."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in _PARTS:
        write_jsonl(getattr(data, part), folder / f"{part}.jsonl")
    draft = folder / f".{REPORT_FILE}.draft"
    body = json.dumps(data.report.to_json(), indent=2, ensure_ascii=False)
    draft.write_text(body + "\n", encoding="utf-8")
    draft.replace(folder / REPORT_FILE)


def load(folder: Path) -> Prepared:
    """Return what `write` wrote."""
    body = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    sources = tuple(DataSource(**source) for source in body["sources"])
    train, dev, test = (load_jsonl(folder / f"{part}.jsonl") for part in _PARTS)
    return Prepared(train, dev, test, DataReport(sources, body["clean"], body["split"]))


def _provenance(source: Source, files: list[Path], segments: int) -> DataSource:
    return DataSource(
        name=source.name or source.location,
        digest=digest_of(files),
        licence=source.licence,
        segments=segments,
    )
