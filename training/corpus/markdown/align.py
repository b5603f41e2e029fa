"""Which blocks of two pages are translations of each other: one to one, or none."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from training.corpus.markdown.blocks import Block

# What a translation carries over: code, addresses, shortcodes, numbers, names in Latin letters.
_KEPT: Final = re.compile(
    r"`[^`\n]+`|\]\([^)\s]+\)|https?://[^\s)>\]]+|\{\{[^{}]*\}\}|\d+(?:[.,]\d+)*"
    r"|[A-Za-z][A-Za-z0-9]*[A-Z0-9][A-Za-z0-9]*"
)
_HEADING: Final = re.compile(r"h[1-6]")
_GAP: Final = -0.25
_UNLIKELY: Final = -9.0
# Pages with more blocks than this apart at one place are not compared there.
_BAND: Final = 150


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two blocks, and how sure it is that they say the same (0 to 1)."""

    source: Block
    target: Block
    score: float


def align(sources: Sequence[Block], targets: Sequence[Block]) -> list[Aligned]:
    """Return the spoken blocks that belong together, in order.

    Where the kinds of two sections follow each other alike, their blocks do. Elsewhere the best
    path is taken (after Gale and Church, 1993, with what a translation carries over as further
    evidence), and a block is kept only if more than its length speaks for it.
    """
    ratio = _ratio(sources, targets)
    found: list[Aligned] = []
    for ours, theirs in _sections(sources, targets, ratio):
        is_alike = [block.kind for block in ours] == [block.kind for block in theirs]
        places = [(i, i) for i in range(len(ours))] if is_alike else _path(ours, theirs, ratio)
        for i, j in places:
            source, target = ours[i], theirs[j]
            score = similarity(source, target, ratio)
            if source.is_spoken and target.is_spoken and score > (0.0 if is_alike else 0.5):
                found.append(Aligned(source, target, min(1.0, score)))
    return found


def similarity(source: Block, target: Block, ratio: float) -> float:
    """Return what speaks for the pair: above 0.5 if more than its length does."""
    if source.kind != target.kind:
        return _UNLIKELY
    if not source.is_spoken:
        return 1.0 if source.text == target.text else 0.1
    # Lengths of short texts vary more: the log of the ratio is weighed by their size.
    lengths = math.log((len(target.text) + 8) / (len(source.text) * ratio + 8))
    alike = math.exp(-2.0 * lengths * lengths)
    kept, theirs = _kept(source.text), _kept(target.text)
    if not kept and not theirs:
        return 0.5 * alike
    shared = 2 * len(kept & theirs) / (len(kept) + len(theirs))
    # What one side has and the other lacks altogether speaks against it.
    return 0.5 * alike + (0.5 * shared if shared else -0.45)


def _kept(text: str) -> set[str]:
    # Links of a translated page may lead to its own language's folder.
    return {re.sub(r"\]\(/[a-z]{2}(?:-[a-z]+)?/", "](/", found) for found in _KEPT.findall(text)}


def _ratio(sources: Sequence[Block], targets: Sequence[Block]) -> float:
    """Return the length of the targets to that of the sources."""
    ours, theirs = (
        [len(block.text) for block in side if block.is_spoken] for side in (sources, targets)
    )
    if not ours or not theirs:
        return 1.0
    return max(0.1, statistics.mean(theirs) / statistics.mean(ours))


def _sections(
    sources: Sequence[Block], targets: Sequence[Block], ratio: float
) -> Iterator[tuple[Sequence[Block], Sequence[Block]]]:
    """Yield what stands between headings that belong together, each with its heading."""
    ours, theirs = _headings(sources), _headings(targets)
    heads = [sources[i] for i in ours], [targets[j] for j in theirs]
    if [block.kind for block in heads[0]] == [block.kind for block in heads[1]]:
        cuts = list(zip(ours, theirs, strict=True))
    else:
        cuts = [(ours[a], theirs[b]) for a, b in _path(*heads, ratio)]
    begin = (0, 0)
    for cut in [*cuts, (len(sources), len(targets))]:
        yield sources[begin[0] : cut[0]], targets[begin[1] : cut[1]]
        begin = cut


def _headings(side: Sequence[Block]) -> list[int]:
    return [place for place, block in enumerate(side) if _HEADING.fullmatch(block.kind)]


def _path(
    sources: Sequence[Block], targets: Sequence[Block], ratio: float
) -> list[tuple[int, int]]:
    """Return the places on the best path through both sides; a block left out costs a little."""
    rows, columns = len(sources), len(targets)
    slack = _BAND + abs(rows - columns)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    step: list[list[tuple[int, int]]] = [[(0, 0)] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows + 1):
        for j in range(columns + 1):
            options = []
            if i:
                options.append((best[i - 1][j] + _GAP, (1, 0)))
            if j:
                options.append((best[i][j - 1] + _GAP, (0, 1)))
            if i and j and abs(i - j) <= slack:
                score = similarity(sources[i - 1], targets[j - 1], ratio)
                options.append((best[i - 1][j - 1] + score, (1, 1)))
            if options:
                best[i][j], step[i][j] = max(options)
    found, i, j = [], rows, columns
    while i or j:
        back = step[i][j]
        i, j = i - back[0], j - back[1]
        if back == (1, 1):
            found.append((i, j))
    return found[::-1]
