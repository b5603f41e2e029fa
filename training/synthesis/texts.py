"""The real texts: a recipe's training part, or files of one language; never what is held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.build.keys import normalise
from training.corpus.jsonl import read_texts
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.text import read_text
from training.prepare import Prepared
from training.recipe import Recipe
from training.synthesis.direction import Direction

_JSONL = (".jsonl", ".ndjson")


def originals_of(data: Prepared, direction: Direction, files: Sequence[Path]) -> list[Segment]:
    """Return the segments whose text is to be translated. Raises DataInvalid if there are none.

    They are of the training part, or of `files` of plain text (`.jsonl`: rows with `text`), less
    what the dev and test parts hold on either side.
    """
    held_out = {normalise(text) for s in (*data.dev, *data.test) for text in (s.source, s.target)}
    segments = _of_files(files, direction.asked.source) if files else data.train
    found = [
        segment
        for segment in direction.originals(segments)
        if normalise(direction.text_of(segment)) not in held_out
    ]
    if not found:
        where = ", ".join(map(str, files)) or "the training part"
        raise DataInvalid(
            f"{where}: no text in {direction.asked.source} to make {direction.pair} of; check "
            "--pair and --back, or name files of it with --text"
        )
    return found


def direction_of(recipe: Recipe, pair: str | None, *, back: bool) -> Direction:
    """Return what is made: `pair`, or the recipe's first. Raises DataInvalid, InvalidId."""
    chosen = LanguagePair.parse(pair) if pair else recipe.pair
    if chosen not in recipe.pairs:
        raise DataInvalid(
            f"{recipe.id}: --pair {chosen} is none of the recipe's pairs "
            f"({', '.join(map(str, recipe.pairs))})"
        )
    return Direction(chosen, back)


def _of_files(files: Iterable[Path], language: str) -> Iterator[Segment]:
    how = Reading(LanguagePair(language, language))
    for path in files:
        read = read_texts if path.suffix in _JSONL else read_text
        yield from read(path, how)
