"""Build: a recipe's text as train, dev and test files, and the report on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.build.columns import Column, Mask, indices
from training.build.division import FREE, Division, divide
from training.build.duplicates import duplicates, names_of
from training.build.gather import Gathered, gather
from training.build.leaks import without_leaks
from training.build.report import REPORT_FILE, DataReport, reading_report
from training.build.spool import Spool
from training.clean.report import CleanReport
from training.corpus.source import PARTS, Part
from training.recipe import Recipe
from training.sampling import shares

_SAMPLES = 5


def build_data(
    recipe: Recipe,
    folder: Path,
    *,
    skip_bad: bool = False,
    by_language: bool = False,
    processes: int | None = None,
) -> DataReport:
    """Write train.jsonl, dev.jsonl, test.jsonl and data.json; return the report.

    With `skip_bad` rows that cannot be read are counted in place of an error. With `by_language`
    lines are only `{"en": …, "fr": …}`, which no run is started from. Memory is bounded, time is
    linear, the files do not depend on `processes`, and appear only when all are whole.
    Raises DataInvalid.
    """
    with _drafts_for(folder) as drafts, Spool(drafts) as spool:
        gathered = gather(recipe, spool, skip_bad=skip_bad, processes=processes)
        kept = _without_duplicates(recipe, spool, gathered.reports)
        _check_kept(recipe, gathered.reports)
        division = divide(spool.columns, kept, recipe.split, spool.pairs)
        division, removed = without_leaks(spool, division, recipe.split.near)
        if not len(division.parts["train"]):
            raise DataInvalid(_all_held_out(recipe, removed["train"]))
        report = _report(gathered, _counts(recipe, spool, division, removed))
        for part, numbers in division.parts.items():
            spool.write(numbers, drafts / f"{part}.jsonl", by_language=by_language)
        _move(drafts, folder)
        report.write(folder)
    return report


@contextmanager
def _drafts_for(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that is gone afterwards, whatever happens."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as drafts:
            yield Path(drafts)
    except OSError as error:  # readers tell of their own
        raise DataInvalid(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder, or "
            "make room: a build needs about twice as much as its text"
        ) from error


def _without_duplicates(
    recipe: Recipe, spool: Spool, reports: dict[Part | None, CleanReport]
) -> Mask:
    """Return what is kept; the reports tell of the rest.

    Given dev and test text is compared with itself: it loses no row because training has it too.
    """
    kept = np.ones(len(spool.columns), dtype=bool)
    codes = spool.columns.load("part")
    for parts in ((None, "train"), ("dev",), ("test",)):
        own = {_code(part): reports[part] for part in parts if part in reports}
        among = indices(np.isin(codes, list(own)))
        found = duplicates(spool, among, recipe.clean)
        for name in names_of(recipe.clean):
            kept[found[name]] = False
            for code, report in own.items():
                dropped = found[name][codes[found[name]] == code]
                shown = [spool.segment(number) for number in dropped[:_SAMPLES].tolist()]
                report.drop_kept(name, len(dropped), shown)
    return kept


def _code(part: Part | None) -> int:
    return FREE if part is None else PARTS.index(part)


def _check_kept(recipe: Recipe, reports: dict[Part | None, CleanReport]) -> None:
    for part, report in reports.items():
        if not report.kept:
            of_part = f" given as {part}" if part else ""
            raise DataInvalid(
                f"{recipe.id}: none of {report.read} pairs{of_part} is left after cleaning "
                f"({report.dropped}); look at the text, or relax the rules under `clean`"
            )


def _all_held_out(recipe: Recipe, removed: int) -> str:
    return (
        f"{recipe.id}: all {removed} pairs for training are in the dev or test text, too, or "
        "nearly (but for numbers and a word); give other text, or set split.near: null"
    )


def _report(gathered: Gathered, counts: dict[str, Any]) -> DataReport:
    total = CleanReport()
    for report in gathered.reports.values():
        total.add(report)
    given = {part: gathered.reports[part].counts() for part in PARTS if part in gathered.reports}
    clean = {**total.to_json(), "given": given}
    return DataReport(gathered.sources, clean, counts, reading_report(gathered.readings))


def _counts(
    recipe: Recipe, spool: Spool, division: Division, removed: dict[Part, int]
) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "by": division.by,
        **{part: len(numbers) for part, numbers in division.parts.items()},
        "removed_as_leak": sum(removed.values()),
    }
    if len(recipe.pairs) > 1 and recipe.objective.kind != "monolingual":
        counts["pairs"] = _counts_of_pairs(recipe, spool, division)
    return counts


def _counts_of_pairs(recipe: Recipe, spool: Spool, division: Division) -> dict[str, Any]:
    codes = spool.columns.load("pair")
    sizes = {
        part: _sizes(codes[numbers], spool.pairs, recipe.pairs)
        for part, numbers in division.parts.items()
    }
    for pair in recipe.pairs:
        if missing := [part for part in ("train", "test") if not sizes[part][pair]]:
            raise DataInvalid(
                f"{recipe.id}: {pair} has no segment in {' and '.join(missing)}; give each pair "
                "its train and test text, or leave `part` out of its source"
            )
    # With weights of sources, what an epoch has is known only when it is drawn.
    is_mixed = any(s.replay or s.weight != 1 or s.domain for s in recipe.data)
    drawn = {} if is_mixed else shares(sizes["train"], recipe.sampling)
    return {
        str(pair): {part: sizes[part][pair] for part in PARTS}
        | ({"drawn": drawn[pair]} if pair in drawn else {})
        for pair in recipe.pairs
    }


def _sizes(
    codes: Column, known: Sequence[LanguagePair | None], pairs: Sequence[LanguagePair]
) -> dict[LanguagePair | None, int]:
    found = dict(zip(known, np.bincount(codes, minlength=len(known)).tolist(), strict=True))
    return {pair: found.get(pair, 0) for pair in pairs}


def _move(drafts: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    # The report of an earlier build would vouch for a mixture of both.
    (folder / REPORT_FILE).unlink(missing_ok=True)
    for part in PARTS:
        (drafts / f"{part}.jsonl").replace(folder / f"{part}.jsonl")
