"""Judge: a chunk of segments in, the lines and keys of those that no rule drops out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from adapters.ids import LanguagePair
from training.build.columns import Column
from training.build.keys import keys_of
from training.clean.report import CleanReport
from training.clean.rules import Cleaner, CleanRules
from training.corpus.segment import Segment


class Chunk(NamedTuple):
    """Segments of one source, which is known by its number; never none."""

    source: int
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a chunk: lines of JSON, and their columns but for `part`.

    `pair` is there the number of the pair in `pairs`.
    """

    source: int
    report: CleanReport
    lines: bytes
    columns: dict[str, Column]
    pairs: tuple[LanguagePair | None, ...]


class Judge:
    """Judges chunks one by one: what it says of one does not depend on any other."""

    def __init__(self, rules: CleanRules, seed: int) -> None:
        self._rules, self._seed = rules, seed
        self._cleaner = Cleaner(rules)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rules are functions, which a worker makes for itself.
        return Judge, (self._rules, self._seed)

    def __call__(self, chunk: Chunk) -> Judged:
        """Return the verdict on a chunk."""
        report = CleanReport.of_rules(self._cleaner.names)
        kept = []
        for segment in chunk.segments:
            rule = self._cleaner.broken(segment)
            if rule is None:
                kept.append(segment)
            else:
                report.drop(rule, segment)
        report.keep(len(kept))
        pairs = tuple(dict.fromkeys(segment.pair for segment in kept))
        numbers = {pair: number for number, pair in enumerate(pairs)}
        lines = [_line(segment) for segment in kept]
        columns = keys_of(kept, self._seed) | {
            "length": np.array([len(line) for line in lines], dtype=np.uint32),
            "pair": np.array([numbers[segment.pair] for segment in kept], dtype=np.uint16),
        }
        return Judged(chunk.source, report, b"".join(lines), columns, pairs)


def _line(segment: Segment) -> bytes:
    return (json.dumps(segment.to_json(), ensure_ascii=False) + "\n").encode()
