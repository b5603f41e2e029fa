"""Spool: the clean segments of a build on disk, in the order in which they were read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from adapters.ids import LanguagePair
from training.build.columns import Column, Columns, Indices
from training.build.judge import Judged
from training.corpus.segment import Segment


class Spool:
    """Lines of JSON and the columns of each; a line is read by its number."""

    def __init__(self, folder: Path) -> None:
        self.columns = Columns(folder / "columns")
        self.pairs: list[LanguagePair | None] = []
        self._file = (folder / "lines.jsonl").open("w+b")
        self._starts: Column | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.columns.close()
        self._file.close()

    def append(self, judged: Judged, part: int) -> None:
        """Append the kept segments of a chunk; `part` is the code of their part."""
        numbers = np.array([self._number(pair) for pair in judged.pairs], dtype=np.uint16)
        self._file.write(judged.lines)
        rows = len(judged.columns["length"])
        self.columns.append(
            judged.columns
            | {
                "part": np.full(rows, part, dtype=np.uint8),
                "pair": numbers[judged.columns["pair"]] if rows else judged.columns["pair"],
            }
        )
        self._starts = None

    def line(self, number: int) -> bytes:
        """Return the line of a segment, with its end."""
        starts = self._line_starts()
        start = int(starts[number])
        return os.pread(self._file.fileno(), int(starts[number + 1]) - start, start)

    def segment(self, number: int) -> Segment:
        """Return a segment."""
        return Segment.from_json(json.loads(self.line(number)))

    def write(self, numbers: Indices, path: Path, *, by_language: bool = False) -> None:
        """Write the lines of these segments, in their order; or `{"en": …, "fr": …}` for each."""
        lines = self._lines(numbers)
        with path.open("wb") as file:
            file.writelines(map(_by_language, lines) if by_language else lines)

    def _lines(self, numbers: Indices) -> Iterable[bytes]:
        # Not tolist: four million Python numbers take 125 MB.
        return (self.line(int(number)) for number in numbers)

    def _line_starts(self) -> Column:
        """Return where each line starts in the file, and where the last one ends."""
        if self._starts is None:
            self._file.flush()
            lengths = self.columns.load("length")
            self._starts = np.zeros(len(lengths) + 1, dtype=np.int64)
            np.cumsum(lengths, out=self._starts[1:])
        return self._starts

    def _number(self, pair: LanguagePair | None) -> int:
        if pair not in self.pairs:
            self.pairs.append(pair)
        return self.pairs.index(pair)


def _by_language(line: bytes) -> bytes:
    segment = Segment.from_json(json.loads(line))
    pair = segment.pair or LanguagePair("source", "target")
    texts = {pair.source: segment.source, pair.target: segment.target}
    return (json.dumps(texts, ensure_ascii=False) + "\n").encode()
