"""Duplicates: pairs that were there before, exactly or nearly."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.build.columns import NEAR, Indices, Mask, later
from training.build.near import jaccard, triples
from training.build.spool import Spool
from training.clean.rules import CleanRules
from training.corpus.segment import Segment

EXACT: Final = ("duplicate", "other_translation")
NEARLY: Final = "near_duplicate"


def names_of(rules: CleanRules) -> tuple[str, ...]:
    """Return the rules of duplicates that are in use, in order."""
    exact = EXACT if rules.drop_duplicates else ()
    return exact if rules.near_duplicates is None else (*exact, NEARLY)


def duplicates(spool: Spool, among: Indices, rules: CleanRules) -> dict[str, Indices]:
    """Return which segments of `among`, in order, each rule drops; each is dropped by one."""
    found: dict[str, Indices] = {}
    left = np.ones(len(among), dtype=bool)
    if rules.drop_duplicates:
        for name, column in zip(EXACT, ("text", "source"), strict=True):
            dropped = later(spool.columns.load(column)[among]) & left
            found[name], left = among[dropped], left & ~dropped
    if rules.near_duplicates is not None:
        found[NEARLY] = _near(spool, among[left], rules.near_duplicates)
    return found


def _near(spool: Spool, among: Indices, least: float) -> Indices:
    """Return those of which an earlier one, the first with the same band, is at least so near."""
    earlier = _candidates(spool, among)
    dropped = [
        number
        for number, others in sorted(earlier.items())
        if any(_alike(spool.segment(number), spool.segment(n)) >= least for n in sorted(others))
    ]
    return np.array(dropped, dtype=np.uint32)


def _candidates(spool: Spool, among: Indices) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for name in NEAR:
        band = spool.columns.load(name)[among]
        _, first, inverse = np.unique(band, return_index=True, return_inverse=True)
        firsts = first[inverse]
        is_later: Mask = (firsts < np.arange(len(band))) & (band != 0)
        pairs = zip(among[is_later].tolist(), among[firsts[is_later]].tolist(), strict=True)
        for number, before in pairs:
            found.setdefault(number, set()).add(before)
    return found


def _alike(one: Segment, other: Segment) -> float:
    """Return the smaller of both sides' likeness: another translation of a text is not the same."""
    sides = ((one.source, other.source), (one.target, other.target))
    return min(1.0 if a == b else jaccard(triples(a), triples(b)) for a, b in sides)
