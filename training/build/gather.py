"""Gathered: the clean segments of a recipe's sources, before anything is divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from adapters.console import progress
from adapters.errors import DataInvalid
from adapters.manifest import DataSource
from training.build.division import FREE
from training.build.in_order import in_order
from training.build.judge import Chunk, Judge
from training.build.spool import Spool
from training.clean.report import CleanReport
from training.corpus.places import Place
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.source import PARTS, Part, Source
from training.recipe import Recipe

_CHUNK: Final = 1000
_BLOCK_BYTES: Final = 2**20


@dataclass(frozen=True)
class Gathered:
    """What was read and kept; `reports` tells what cleaning dropped from each given part."""

    reports: dict[Part | None, CleanReport]
    sources: tuple[DataSource, ...]
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class _Opened:
    """A source with the files that it was found to be."""

    source: Source
    places: Sequence[Place]
    how: Reading

    @property
    def files(self) -> list[Path]:
        return [file for place in self.places for file in place.files]


def gather(
    recipe: Recipe, spool: Spool, *, skip_bad: bool = False, processes: int | None = None
) -> Gathered:
    """Append the clean segments of all sources to `spool`. Raises DataInvalid.

    With `skip_bad` rows that cannot be read are counted in place of an error.
    """
    opened = [_opened(source, recipe, skip_bad=skip_bad) for source in recipe.data]
    reports: dict[Part | None, CleanReport] = defaultdict(CleanReport)
    read = [0] * len(opened)
    where = _Position([file for one in opened for file in one.files])
    with progress(f"{recipe.id}: lines read", where.total) as advance:

        def told(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
            for chunk in chunks:
                advance(where.moved_to(chunk.segments[-1]))
                yield chunk

        judge = Judge(recipe.clean, recipe.split.seed)
        for judged in in_order(judge, told(_chunks(opened, recipe)), processes=processes):
            part = opened[judged.source].source.part
            spool.append(judged, FREE if part is None else PARTS.index(part))
            reports[part].add(judged.report)
            read[judged.source] += judged.report.read
    for one in opened:
        _ = reports[one.source.part]  # told, too, where nothing was read
    sources = [_provenance(one, count) for one, count in zip(opened, read, strict=True)]
    return Gathered(dict(reports), tuple(sources), tuple(one.how for one in opened))


def _opened(source: Source, recipe: Recipe, *, skip_bad: bool) -> _Opened:
    places = source.places(recipe.folder, recipe.pairs)
    return _Opened(source, places, source.reading(recipe.pairs, skip_bad=skip_bad))


def _chunks(opened: Sequence[_Opened], recipe: Recipe) -> Iterator[Chunk]:
    for number, one in enumerate(opened):
        segments = iter(one.source.read(one.places, recipe.pairs, one.how))
        while chunk := list(islice(segments, _CHUNK)):
            yield Chunk(number, chunk)


def _provenance(one: _Opened, segments: int) -> DataSource:
    source = one.source
    return DataSource(
        name=source.name or source.location,
        digest=source.digest(one.places),
        licence=source.licence,
        segments=segments,
    )


class _Position:
    """Where reading stands, in lines of all files."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._spans: dict[str, tuple[int, int]] = {}
        total = 0
        for file in files:
            lines = _lines(file)
            self._spans[str(file)] = (total, total + lines)
            total += lines
        self._done = 0
        self.total = total or None

    def moved_to(self, segment: Segment) -> int:
        """Return how many lines further `segment` is."""
        start, end = self._spans.get(segment.path, (0, 0))
        # Lines of one of two files, entries of compiled catalogues: near enough for a bar.
        now = max(self._done, min(start + segment.line, end))
        moved, self._done = now - self._done, now
        return moved


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
    except OSError as error:
        raise DataInvalid(
            f"{path}: cannot be read ({error.strerror or error}); check the path in the recipe"
        ) from error
