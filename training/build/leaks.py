"""Leaks: text that training would have of what it is to be tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from training.build.columns import NEAR, Column, Indices, Mask, among
from training.build.division import Division
from training.build.near import bands, jaccard, triples
from training.build.spool import Spool
from training.corpus.segment import Segment
from training.corpus.source import Part

# A part is cleared of the parts before it.
_ORDER: Final[tuple[Part, ...]] = ("test", "dev", "train")


def without_leaks(
    spool: Spool, division: Division, near: float | None
) -> tuple[Division, dict[Part, int]]:
    """Return the parts without what is also in a later one, and how many each lost.

    A source is in another part if it is there but for case, spacing and closing punctuation, or as
    `near` as that; on either side, since a reversed pair asks for the reference.
    """
    parts, removed = dict(division.parts), dict[Part, int]()
    for number, part in enumerate(_ORDER[1:], start=1):
        held_out = np.concatenate([parts[known] for known in _ORDER[:number]])
        leaked = _leaked(spool, parts[part], held_out, near)
        parts[part] = parts[part][~leaked]
        removed[part] = int(leaked.sum())
    return Division(parts, division.by), removed


def _leaked(spool: Spool, numbers: Indices, held_out: Indices, near: float | None) -> Mask:
    columns = spool.columns
    known = [columns.load(name)[held_out] for name in ("leak", "leak_back")]
    leaked = among(columns.load("leak")[numbers], np.concatenate(known))
    if near is None:
        return leaked
    nearly = _Nearly(spool, held_out)
    for place in np.flatnonzero(nearly.suspects(numbers) & ~leaked).tolist():
        leaked[place] = nearly.likeness(spool.segment(int(numbers[place]))) >= near
    return leaked


class _Nearly:
    """The held-out texts, both sides, to be compared with."""

    def __init__(self, spool: Spool, held_out: Indices) -> None:
        self._columns = spool.columns
        texts = _texts(spool.segment(number) for number in held_out.tolist())
        self._triples = [found for text in texts if (found := triples(text))]
        rows = [bands(found) for found in self._triples]
        self._bands: Column = np.array(rows, dtype=np.uint64).reshape(len(rows), len(NEAR))
        self._with: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, row in enumerate(self._bands.tolist()):
            for key in enumerate(row):
                self._with[key].append(number)

    def suspects(self, numbers: Indices) -> Mask:
        """Return which segments share a band with a held-out text."""
        found = np.zeros(len(numbers), dtype=bool)
        for band, name in enumerate(NEAR):
            found |= among(self._columns.load(name)[numbers], self._bands[:, band])
        return found

    def likeness(self, segment: Segment) -> float:
        """Return how near the source of `segment` is to the nearest held-out text."""
        own = triples(segment.source)
        others = {n for key in enumerate(bands(own).tolist()) for n in self._with.get(key, ())}
        return max((jaccard(own, self._triples[n]) for n in others), default=0.0)


def _texts(segments: Iterator[Segment]) -> Iterator[str]:
    for segment in segments:
        yield segment.source
        if segment.pair is not None and segment.target != segment.source:
            yield segment.target
