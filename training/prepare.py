"""The data phase of a run: recipe -> corpus -> clean -> split -> JSONL files and a report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid
from adapters.manifest import DataSource
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.corpus.source import PARTS
from training.gather import gather
from training.recipe import Recipe
from training.sampling import sample
from training.split import Split, split

REPORT_FILE: Final = "data.json"


@dataclass(frozen=True)
class DataReport:
    """Where the text came from, what cleaning dropped, and how the rest was divided."""

    sources: tuple[DataSource, ...]
    clean: dict[str, Any]
    split: dict[str, Any]
    reading: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "sources": [source.model_dump(mode="json") for source in self.sources],
            "reading": self.reading,
            "clean": self.clean,
            "split": self.split,
        }

    def lost(self) -> list[str]:
        """Return what cleaning took from the dev and test text that the recipe gives, to be told.

        Whoever drops the hard rows of a test gets better figures.
        """
        lines = []
        for part, counts in self.clean.get("given", {}).items():
            if part != "train" and counts["kept"] < counts["read"]:
                why = ", ".join(f"{rule} {n}" for rule, n in counts["dropped"].items() if n)
                lost = counts["read"] - counts["kept"]
                lines.append(f"cleaning dropped {lost} of {counts['read']} {part} pairs ({why})")
        return lines


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
    gathered = gather(recipe, skip_bad=skip_bad)
    parts = split(gathered.free, recipe.split, gathered.given)
    counts = parts.counts()
    if len(recipe.pairs) > 1 and recipe.objective.kind != "monolingual":
        counts["pairs"] = _counts_of_pairs(recipe, parts)
    report = DataReport(
        gathered.sources, gathered.clean_report(), counts, gathered.reading_report()
    )
    return Prepared(parts.train, parts.dev, parts.test, report)


def _counts_of_pairs(recipe: Recipe, parts: Split) -> dict[str, Any]:
    drawn = Counter(s.pair for s in sample(parts.train, recipe.sampling, seed=recipe.seed))
    counts: dict[str, Any] = {}
    for pair in recipe.pairs:
        sizes: dict[str, int] = {
            part: sum(s.pair == pair for s in getattr(parts, part)) for part in PARTS
        }
        if missing := [part for part in ("train", "test") if not sizes[part]]:
            raise DataInvalid(
                f"{recipe.id}: {pair} has no segment in {' and '.join(missing)}; give each pair "
                "its train and test text, or leave `part` out of its source"
            )
        counts[str(pair)] = {**sizes, "drawn": drawn[pair]}
    return counts


def write(data: Prepared, folder: Path) -> None:
    """Write train.jsonl, dev.jsonl, test.jsonl and data.json (last: it says that all are there)."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        write_jsonl(getattr(data, part), folder / f"{part}.jsonl")
    draft = folder / f".{REPORT_FILE}.draft"
    body = json.dumps(data.report.to_json(), indent=2, ensure_ascii=False)
    draft.write_text(body + "\n", encoding="utf-8")
    draft.replace(folder / REPORT_FILE)


def load(folder: Path) -> Prepared:
    """Return what `write` wrote."""
    body = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    sources = tuple(DataSource(**source) for source in body["sources"])
    train, dev, test = (load_jsonl(folder / f"{part}.jsonl") for part in PARTS)
    report = DataReport(sources, body["clean"], body["split"], body.get("reading", {}))
    return Prepared(train, dev, test, report)
