"""Faults of a translation that need no reference: what breaks users, whatever the score says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.ids import LanguagePair
from training.clean.contents import numbers, numbers_shared, only_target_loops
from training.clean.language_id import is_of_other
from training.clean.lengths import ratio
from training.clean.placeholders import placeholders
from training.clean.view import View
from training.corpus.segment import Segment
from training.evaluate.fault import Fault

# A sureness that no good text of 15,665 reached for another language (training.clean.language_id).
_SURE: Final = 0.7
# Interface words of a few letters are of no language in particular.
_LEAST_LETTERS: Final = 12
# To the reference, or the reference to it; ratio() leaves short texts alone.
_LONGEST_RATIO: Final = 4.0


# What each answer of a system has, in the order of the segments.
Found = Sequence[Fault | None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One segment as a system answered it."""

    source: str
    reference: str
    answer: str


def fault_of(row: Answered, pair: LanguagePair) -> Fault | None:
    """Return what is wrong with the answer, or None.

    One at most: a copy has the wrong language as well, and a loop the wrong length, but each of
    them is one fault. What the reference does as well is none.
    """
    views = _Views(row, pair)
    return next((fault for fault, has in _CHECKS.items() if has(views)), None)


def faults_of(rows: Sequence[Answered], pair: LanguagePair) -> list[Fault | None]:
    """Return the fault of each answer."""
    return [fault_of(row, pair) for row in rows]


class _Views:
    """A segment's three texts, two by two."""

    def __init__(self, row: Answered, pair: LanguagePair) -> None:
        def view(source: str, target: str) -> View:
            return View(Segment(source, target, "", "", 0, pair))

        self.row = row
        self.language = pair.target
        self.answered = view(row.source, row.answer)
        self.good = view(row.source, row.reference)
        self.apart = view(row.reference, row.answer)


def _is_empty(views: _Views) -> bool:
    return not views.row.answer.strip() and bool(views.row.reference.strip())


def _is_copied(views: _Views) -> bool:
    row = views.row
    answer, source, reference = (
        text.casefold().split() for text in (row.answer, row.source, row.reference)
    )
    return answer == source and answer != reference


def _is_of_other(views: _Views) -> bool:
    side = views.answered.target
    if side.letters < _LEAST_LETTERS or not is_of_other(side.plain, views.language, least=_SURE):
        return False
    return not is_of_other(views.good.target.plain, views.language, least=_SURE)


def _is_out_of_length(views: _Views) -> bool:
    return ratio(views.apart) > _LONGEST_RATIO


def _lost_placeholders(views: _Views) -> bool:
    source, reference, answer = (
        placeholders(text) for text in (views.row.source, views.row.reference, views.row.answer)
    )
    return source == reference != answer


def _changed_numbers(views: _Views) -> bool:
    return numbers_shared(views.answered) < numbers_shared(views.good) == 1.0


_CHECKS: Final[dict[Fault, Callable[[_Views], bool]]] = {
    Fault.EMPTY: _is_empty,
    Fault.COPIED: _is_copied,
    Fault.LOOP: lambda views: only_target_loops(views.answered),
    Fault.LANGUAGE: _is_of_other,
    Fault.LENGTH: _is_out_of_length,
    Fault.PLACEHOLDERS: _lost_placeholders,
    Fault.NUMBERS: _changed_numbers,
}


@dataclass(frozen=True)
class Faults:
    """How many of a system's answers have which fault."""

    segments: int
    counts: dict[Fault, int]

    def rate(self, fault: Fault) -> float:
        """Return the share of answers with that fault, 0 to 1."""
        return self.counts.get(fault, 0) / max(1, self.segments)

    def to_json(self) -> dict[str, Any]:
        """Return the shares in percent."""
        return {str(fault): round(100 * self.rate(fault), 2) for fault in Fault}


def rise_by_chance(fault: Fault, own: Found, standard: Found) -> float:
    """Return how likely `own` has the fault as often by chance as if it were as good as `standard`.

    The exact sign test, one-sided, over the segments where only one of both has it (McNemar 1947).
    """
    apart = [
        mine == fault
        for mine, theirs in zip(own, standard, strict=True)
        if (mine == fault) != (theirs == fault)
    ]
    worse, total = sum(apart), len(apart)
    outcomes = sum(math.comb(total, k) for k in range(worse, total + 1))
    return float(outcomes / 2**total)


def over_by_chance(counted: int, at_risk: int, share: float) -> float:
    """Return how likely `counted` of `at_risk` or more have a fault if `share` of all have it.

    One-sided, exact (binomial).
    """
    return sum(
        math.comb(at_risk, k) * share**k * (1 - share) ** (at_risk - k)
        for k in range(counted, at_risk + 1)
    )


def at_risk(sources: Sequence[str], faults: Found) -> dict[Fault, int]:
    """Return how many answers could have had each fault: not all texts have placeholders."""
    found = dict.fromkeys(Fault, len(sources))
    for fault, has in ((Fault.PLACEHOLDERS, placeholders), (Fault.NUMBERS, numbers)):
        rows = zip(sources, faults, strict=True)
        found[fault] = sum(bool(has(source)) or mine == fault for source, mine in rows)
    return found


def count(faults: Iterable[Fault | None]) -> Faults:
    """Return how often each fault occurs."""
    found = list(faults)
    return Faults(len(found), dict(Counter(fault for fault in found if fault is not None)))
