"""Division: train, dev and test of whole documents, or of hashes of the source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.build.columns import Column, Columns, Indices, Mask, indices
from training.corpus.source import PARTS, Part
from training.split import SplitRule

# Code of a segment whose source names no part; the others' are their places in PARTS.
FREE: Final = len(PARTS)
# `auto` splits by document only where documents are many and none of them is most of the text.
_MANY_DOCUMENTS: Final = 30
_LARGE_SHARE: Final = 0.2
# A document that would overfill a part by more than this is left for training.
_OVERFILL: Final = 1.25
_RANKS: Final = 2.0**64

By = Literal["document", "hash", "source"]
Parts = Mapping[Part, Indices]


@dataclass(frozen=True)
class Division:
    """The segments of each part, by number and in order.

    `by` is "source" where the recipe's sources say all of it.
    """

    parts: Parts
    by: By


@dataclass(frozen=True)
class _Units:
    """Segments that stay together, in the order of their rank.

    numbers_N: of the segments; pairs_N: codes; starts_U+1: of each unit and the end; ranks_U.
    """

    numbers: Indices
    pairs: Column
    starts: Indices
    ranks: Column

    def __len__(self) -> int:
        return len(self.ranks)

    def __iter__(self) -> Iterator[Column]:
        """Yield the pairs of each unit's segments."""
        return (self.pairs[start:end] for start, end in pairwise(map(int, self.starts)))

    def segments(self, chosen: Mask) -> Indices:
        """Return the segments of the chosen units, in order."""
        return self.numbers[np.repeat(chosen, np.diff(self.starts))]


def divide(
    columns: Columns,
    kept: Mask,
    rule: SplitRule,
    pairs: Sequence[LanguagePair | None],
) -> Division:
    """Return the parts of the kept segments; `pairs` are those of the codes in `columns`.

    Sources may give whole parts: a dev or test part that they give takes nothing of the rest, and
    the sizes of `rule` are of the others. Raises DataInvalid if too few are left for a part.
    """
    codes = columns.load("part")
    free = indices(kept & (codes == FREE))
    given: dict[Part, Indices] = {
        part: indices(kept & (codes == code))
        for code, part in enumerate(PARTS)
        if (codes == code).any()
    }
    by = _by(columns.load("by_document")[free], rule)
    units = _units(columns, free, by, pairs)
    sizes: dict[Part, int | float] = {"test": rule.test, "dev": rule.dev}
    wanted = {part: 0 if part in given else size for part, size in sizes.items()}
    least: dict[Part, int] = {part: math.ceil(size) for part, size in wanted.items()}
    nothing = np.zeros(len(units), dtype=bool)
    test = _take(units, wanted["test"], nothing)
    dev = _take(units, wanted["dev"], test, from_top=True)
    chosen = {"test": test, "dev": dev, "train": ~test & ~dev}
    taken: Parts = {part: units.segments(chosen[part]) for part in PARTS}
    counts = _counts(columns.load("pair"), taken, pairs)
    _check_sizes(counts, least, given, by)
    whole = {
        part: np.concatenate([taken[part], given[part]]) if part in given else taken[part]
        for part in PARTS
    }
    return Division(whole, by if len(free) and any(wanted.values()) else "source")


def _by(documents: Column, rule: SplitRule) -> Literal["document", "hash"]:
    if rule.by != "auto":
        return rule.by
    sizes = np.unique(documents, return_counts=True)[1]
    many = len(sizes) >= _MANY_DOCUMENTS
    even = sizes.max(initial=0) <= _LARGE_SHARE * len(documents)
    return "document" if many and even else "hash"


def _units(
    columns: Columns, free: Indices, by: str, pairs: Sequence[LanguagePair | None]
) -> _Units:
    codes = columns.load("pair")[free]
    of_documents = by == "document"
    ranks = (
        columns.load("by_document")[free]
        if of_documents
        else _text_ranks(columns, free, codes, pairs)
    )
    order = np.argsort(ranks, kind="stable")
    numbers, codes, ranks = free[order], codes[order], ranks[order]
    del order  # one column more or less is a tenth of all memory
    is_first = np.ones(len(ranks), dtype=bool)
    is_first[1:] = ranks[1:] != ranks[:-1]
    ranks = ranks[is_first]
    starts = indices(np.append(is_first, True))
    return _Units(numbers, codes, starts, ranks)


def _take(units: _Units, size: float, not_these: Mask, *, from_top: bool = False) -> Mask:
    """Return units in which every pair has about `size` segments, those of the lowest rank.

    Of a share, those whose rank is within it, from the one end or the other: so dev and test do
    not depend on each other's size.
    """
    if 0 < size < 1:
        inside = units.ranks >= (1 - size) * _RANKS if from_top else units.ranks < size * _RANKS
        return inside & ~not_these
    taken = np.zeros(len(units), dtype=bool)
    counts = np.zeros(int(units.pairs.max(initial=0)) + 1, dtype=np.int64)
    present = np.bincount(units.pairs, minlength=len(counts)) > 0
    most = max(size * _OVERFILL, size + 1)
    for number, unit in enumerate(units):
        if not (present & (counts < size)).any():
            break
        if not_these[number]:
            continue
        added = np.bincount(unit, minlength=len(counts))
        lacking = (added > 0) & (counts < size)
        if lacking.any() and ((counts + added)[lacking] <= most).all():
            taken[number] = True
            counts += added
    return taken


def _text_ranks(
    columns: Columns,
    free: Indices,
    codes: Column,
    pairs: Sequence[LanguagePair | None],
) -> Column:
    """Return what a segment's part hangs on: its source, or of several pairs the shared side.

    So "Save" in en-de, en-fr and de-en falls into one part, whichever side it is on.
    """
    by_source = columns.load("by_source")[free]
    present = {pair for code in np.unique(codes).tolist() if (pair := pairs[code])}
    if len(present) < 2:
        return by_source
    languages = Counter(language for p in present for language in (p.source, p.target))
    shared = max(sorted(languages), key=languages.__getitem__)
    is_target = np.array([pair is not None and pair.target == shared for pair in pairs])
    return np.where(is_target[codes], columns.load("by_target")[free], by_source)


def _counts(
    codes: Column, parts: Parts, pairs: Sequence[LanguagePair | None]
) -> dict[str, dict[Part, int]]:
    """Return the sizes of the parts of each pair that has any, by how messages name it."""
    counts = {part: np.bincount(codes[parts[part]], minlength=len(pairs)) for part in PARTS}
    return {
        "" if pair is None else f"{pair}: ": {part: int(counts[part][code]) for part in PARTS}
        for code, pair in enumerate(pairs)
        if any(counts[part][code] for part in PARTS)
    }


def _check_sizes(
    counts: Mapping[str, Mapping[Part, int]], least: Mapping[Part, int], given: Parts, by: str
) -> None:
    """Raise DataInvalid if a pair has too few segments in a part."""
    nothing: Mapping[str, Mapping[Part, int]] = {"": dict.fromkeys(PARTS, 0)}
    for pair, sizes in sorted((counts or nothing).items()):
        trained = sizes["train"] or len(given.get("train", ()))
        if any(sizes[part] < size for part, size in least.items()) or not trained:
            raise DataInvalid(_too_few(pair, by, sizes, least, given))


def _too_few(
    pair: str,
    by: str,
    sizes: Mapping[Part, int],
    least: Mapping[Part, int],
    given: Parts,
) -> str:
    found = ", ".join(f"{part} {sizes[part]} of {size}" for part, size in least.items() if size)
    parts = f"{found}, train {sizes['train']}" if found else "no segment for train"
    total = sum(sizes.values())
    if given:
        sources = f"sources of `part: {'`, `part: '.join(given)}` are not divided"
        return (
            f"{pair}split by {by}: {total} segments without a `part` give {parts}; {sources}: "
            "leave `part` out of one, give a source for the part that is missing, "
            "or lower split.test and split.dev"
        )
    return (
        f"{pair}split by {by}: {total} segments give {parts}; "
        "add data, lower split.test and split.dev, or set split.by: hash"
    )
