"""Gathered: the clean segments of a recipe's sources, before anything is divided."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid
from adapters.manifest import DataSource
from training.clean.rules import rules_of
from training.clean.run import CleanReport, clean
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.source import PARTS, Part, Source, digest_of
from training.recipe import Recipe


@dataclass(frozen=True)
class Gathered:
    """What was read and kept: `free` is to be divided, `given` is of a part that its source names.

    `reports` tells what cleaning dropped from each of them.
    """

    free: list[Segment]
    given: dict[Part, list[Segment]]
    reports: dict[Part | None, CleanReport]
    sources: tuple[DataSource, ...]
    readings: tuple[Reading, ...]

    def clean_report(self) -> dict[str, Any]:
        """Return what cleaning dropped in all, and from each given part, as plain JSON values."""
        total = sum(self.reports.values(), start=CleanReport())
        given = {part: self.reports[part].counts() for part in PARTS if part in self.reports}
        return {**total.to_json(), "given": given}

    def reading_report(self) -> dict[str, Any]:
        """Return what could not be read, and how much of each page was aligned, as plain JSON."""
        return {
            "bad": sum(how.bad for how in self.readings),
            "shown": [line for how in self.readings for line in how.shown],
            "pages": [asdict(page) for how in self.readings for page in how.pages],
        }


def gather(recipe: Recipe, *, skip_bad: bool = False) -> Gathered:
    """Return the clean segments of all sources. Raises DataInvalid if a part has none left.

    With `skip_bad` rows that cannot be read are counted in place of an error.

    Given dev and test text is cleaned by itself: it loses no row because training has it too.
    """
    held_out = {part: rules_of(recipe.clean) for part in ("dev", "test")}
    trained = rules_of(recipe.clean)
    kept: dict[Part | None, list[Segment]] = defaultdict(list)
    reports: dict[Part | None, CleanReport] = defaultdict(CleanReport)
    sources, readings = [], []
    for source in recipe.data:
        places = source.places(recipe.folder, recipe.pairs)
        how = source.reading(recipe.pairs, skip_bad=skip_bad)
        readings.append(how)
        rules = held_out.get(source.part or "", trained)
        segments, report = clean(source.read(places, recipe.pairs, how), rules)
        kept[source.part] += segments
        reports[source.part] += report
        files = [file for place in places for file in place.files]
        sources.append(_provenance(source, files, report.read))
    for part, report in reports.items():
        if not kept[part]:
            raise DataInvalid(_nothing_left(recipe, part, report))
    free = kept.pop(None, [])
    given = {part: kept[part] for part in PARTS if part in kept}
    return Gathered(free, given, dict(reports), tuple(sources), tuple(readings))


def _nothing_left(recipe: Recipe, part: Part | None, report: CleanReport) -> str:
    of_part = f" given as {part}" if part else ""
    return (
        f"{recipe.id}: none of {report.read} pairs{of_part} is left after cleaning "
        f"({report.dropped}); look at the text, or relax the rules under `clean`"
    )


def _provenance(source: Source, files: list[Path], segments: int) -> DataSource:
    return DataSource(
        name=source.name or source.location,
        digest=digest_of(files),
        licence=source.licence,
        segments=segments,
    )
