"""Which blocks of two pages are translations of each other: one to one, or none."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from training.corpus.markdown.blocks import Block

# What a translation carries over: code, addresses, shortcodes, numbers, names in Latin letters.
_KEPT: Final = re.compile(
    r"`[^`\n]+`|\]\([^()\s\[\]]+\)|https?://[^\s)>\]]+|\{\{[^{}]*\}\}|\d+(?:[.,]\d+)*"
    r"|(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9]*[A-Z0-9][A-Za-z0-9]*"
)
# Links of a translated page may lead to its own language's folder.
_LOCALE: Final = re.compile(r"\]\(/[a-z]{2}(?:-[a-z]+)?/")
# What a shortcode shows to readers is translated.
_SHOWN: Final = re.compile(r'\s(?:text|title|caption|alt|name)="[^"]*"')
_GAP: Final = -0.25
_UNLIKELY: Final = -9.0
_OTHER_LEVEL: Final = 0.1
# What must speak for a pair: more than its length where nothing else does, and otherwise nothing
# against it. After a comment even code that a translator left out does not.
_BY_EVIDENCE: Final = 0.5
_BY_ORDER: Final = 0.0
_BY_COMMENT: Final = -0.4
# Elsewhere than in order, what is so much longer (1.65 times) is two paragraphs made one: of 260
# such pairs of Helm's French and Chinese pages one was off by more than 0.45, and was just that.
_TOO_LONG: Final = 0.5
# Sections with more pairs of blocks, and of different build, are not aligned: a second's work.
_MOST_CELLS: Final = 1_000_000
_LEFT, _UP, _BOTH = range(3)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two blocks, and how sure it is that they say the same (0 to 1)."""

    source: Block
    target: Block
    score: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """A block, and what of it a translation carries over."""

    block: Block
    kept: frozenset[str]

    def shares(self, other: _Seen) -> bool:
        return not self.kept.isdisjoint(other.kept)


# The places of two blocks, and the least score with which they are a pair.
_Place = tuple[int, int, float]


def align(sources: Sequence[Block], targets: Sequence[Block]) -> list[Aligned]:
    """Return the spoken blocks that belong together, in order.

    Where the kinds of two sections follow each other alike, their blocks do. Elsewhere the best
    path is taken (after Gale and Church, 1993, with what a translation carries over as further
    evidence), and a block is kept only if more than its length speaks for it.
    """
    ratio = length_ratio(sources, targets)
    found: list[Aligned] = []
    for ours, theirs in _sections(_seen(sources), _seen(targets), ratio):
        is_alike = [seen.block.kind for seen in ours] == [seen.block.kind for seen in theirs]
        places = _in_order(ours, theirs, ratio) if is_alike else _by_path(ours, theirs, ratio)
        found += _pairs(ours, theirs, places, ratio=ratio)
    return found


def align_after(originals: Sequence[Block], after: Sequence[Block], ratio: float) -> list[Aligned]:
    """Return what belongs together of a comment and of what follows it.

    The comment itself speaks for the pairs, so much less else must. `ratio` is of the page.
    """
    ours, theirs = _seen(originals), _seen(after)
    # What follows a translation without a comment of its own, such as a name as heading, is none.
    first = theirs[: len(ours)]
    is_alike = [seen.block.leaf for seen in ours] == [seen.block.leaf for seen in first]
    found = _in_order(ours, first, ratio) if is_alike else _by_path(ours, theirs, ratio)
    places = [
        (i, j, _BY_COMMENT if least == _BY_ORDER or ours[i].block.leaf == "h" else least)
        for i, j, least in found
    ]
    return _pairs(ours, theirs, places, ratio=ratio)


def length_ratio(sources: Sequence[Block], targets: Sequence[Block]) -> float:
    """Return the length of the targets to that of the sources."""
    ours, theirs = (
        [len(block.text) for block in side if block.is_spoken] for side in (sources, targets)
    )
    if not ours or not theirs:
        return 1.0
    return max(0.1, statistics.mean(theirs) / statistics.mean(ours))


def _pairs(
    ours: Sequence[_Seen], theirs: Sequence[_Seen], places: Sequence[_Place], *, ratio: float
) -> list[Aligned]:
    found = []
    for i, j, least in places:
        source, target = ours[i].block, theirs[j].block
        score = _similarity(ours[i], theirs[j], ratio)
        is_other = least == _BY_EVIDENCE and abs(_lengths(source, target, ratio)) > _TOO_LONG
        if source.is_spoken and target.is_spoken and score > least and not is_other:
            found.append(Aligned(source, target, min(1.0, max(0.0, score))))
    return found


def _similarity(source: _Seen, target: _Seen, ratio: float) -> float:
    """Return what speaks for the pair: above 0.5 if more than its length does."""
    ours, theirs = source.block, target.block
    if ours.leaf != theirs.leaf:
        return _UNLIKELY
    if not ours.is_spoken:
        return 1.0 if ours.text == theirs.text else 0.1
    alike = 0.5 * math.exp(-2.0 * _lengths(ours, theirs, ratio) ** 2)
    if ours.kind != theirs.kind:
        alike -= _OTHER_LEVEL
    if not source.kept and not target.kept:
        return alike
    shared = 2 * len(source.kept & target.kept) / (len(source.kept) + len(target.kept))
    # What one side has and the other lacks altogether speaks against it.
    return alike + (0.5 * shared if shared else -0.45)


def _lengths(source: Block, target: Block, ratio: float) -> float:
    """Return the log of the length of `target` to what is expected; 0 is as expected."""
    # Lengths of short texts vary more, and so count less.
    return math.log((len(target.text) + 8) / (len(source.text) * ratio + 8))


def _seen(side: Sequence[Block]) -> list[_Seen]:
    return [_Seen(block, _kept(block.text) if block.is_spoken else frozenset()) for block in side]


def _kept(text: str) -> frozenset[str]:
    return frozenset(
        _SHOWN.sub("", found) if found.startswith("{{") else _LOCALE.sub("](/", found)
        for found in _KEPT.findall(text)
    )


def _in_order(ours: Sequence[_Seen], theirs: Sequence[_Seen], ratio: float) -> list[_Place]:
    """Return the places of two sides of one build; where a list's order was changed, the surest."""
    found: list[_Place] = []
    for _, run in groupby(range(len(ours)), key=lambda place: ours[place].block.leaf):
        places = list(run)
        begin, end = places[0], places[-1] + 1
        if _is_shuffled(ours[begin:end], theirs[begin:end]):
            moved = _by_path(ours[begin:end], theirs[begin:end], ratio)
            found += [(begin + i, begin + j, _BY_EVIDENCE) for i, j, _ in moved]
        else:
            found += [(place, place, _BY_ORDER) for place in places]
    return found


def _is_shuffled(ours: Sequence[_Seen], theirs: Sequence[_Seen]) -> bool:
    """Return whether two items of a list have what stands elsewhere in its translation."""
    if len(ours) < 2 or ours[0].block.leaf not in {"li", "cell"}:
        return False
    strange = [i for i in range(len(ours)) if not ours[i].shares(theirs[i])]
    elsewhere = {kept for i in strange for kept in theirs[i].kept}
    return any(not elsewhere.isdisjoint(ours[i].kept) for i in strange)


def _sections(
    sources: Sequence[_Seen], targets: Sequence[_Seen], ratio: float
) -> Iterator[tuple[Sequence[_Seen], Sequence[_Seen]]]:
    """Yield what stands between headings that belong together, each with its heading."""
    ours, theirs = _headings(sources), _headings(targets)
    heads = [sources[i] for i in ours], [targets[j] for j in theirs]
    if [seen.block.kind for seen in heads[0]] == [seen.block.kind for seen in heads[1]]:
        cuts = list(zip(ours, theirs, strict=True))
    else:
        cuts = [(ours[a], theirs[b]) for a, b, _ in _by_path(*heads, ratio)]
    begin = (0, 0)
    for cut in [*cuts, (len(sources), len(targets))]:
        yield sources[begin[0] : cut[0]], targets[begin[1] : cut[1]]
        begin = cut


def _headings(side: Sequence[_Seen]) -> list[int]:
    return [place for place, seen in enumerate(side) if seen.block.leaf == "h"]


def _by_path(ours: Sequence[_Seen], theirs: Sequence[_Seen], ratio: float) -> list[_Place]:
    """Return the places on the best path through both sides; a block left out costs a little."""
    if len(ours) * len(theirs) > _MOST_CELLS:
        return []
    best = [_GAP * j for j in range(len(theirs) + 1)]
    steps = [bytearray([_LEFT] * (len(theirs) + 1))]
    for source in ours:
        row, step = [best[0] + _GAP], bytearray([_UP])
        for j, target in enumerate(theirs):
            score, way = max(
                (best[j] + _similarity(source, target, ratio), _BOTH),
                (best[j + 1] + _GAP, _UP),
                (row[j] + _GAP, _LEFT),
            )
            row.append(score)
            step.append(way)
        best = row
        steps.append(step)
    return _walked(steps)


def _walked(steps: Sequence[bytearray]) -> list[_Place]:
    found: list[_Place] = []
    i, j = len(steps) - 1, len(steps[0]) - 1
    while i or j:
        way = steps[i][j]
        i, j = i - (way != _LEFT), j - (way != _UP)
        if way == _BOTH:
            found.append((i, j, _BY_EVIDENCE))
    return found[::-1]
