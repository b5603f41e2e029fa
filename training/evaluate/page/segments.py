"""The segments that a page shows: the worst of a system, and the same ones of all systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.ids import LanguagePair
from training.evaluate.faults import Answered, faults_of
from training.evaluate.metrics import chrf_of_each
from training.evaluate.page.words import Piece, compared, cut


@dataclass(frozen=True)
class Judged:
    """A system's answers; `faults` and chrF++ `scores` are of each segment."""

    texts: Sequence[str]
    faults: Sequence[str | None]
    scores: Sequence[float]


@dataclass(frozen=True)
class Shown:
    """One segment of one system; `number` counts from 1."""

    number: int
    source: str
    answer: list[Piece]
    reference: list[Piece]
    fault: str | None
    score: float


@dataclass(frozen=True)
class Beside:
    """One segment with all answers, by system."""

    number: int
    source: str
    reference: str
    answers: list[tuple[str, str, str | None, float]]


def judged(
    texts: Mapping[str, Any], by_segment: Mapping[str, Any], pair: LanguagePair
) -> dict[str, Judged]:
    """Return each system of `texts`; what `by_segment` does not have of one is counted now."""
    return {
        name: _judged(texts, answers, by_segment.get(name), pair)
        for name, answers in texts["systems"].items()
    }


def worst(texts: Mapping[str, Any], system: Judged, most: int) -> list[Shown]:
    """Return the worst segments, each once: those with a fault first, then by chrF++."""
    bad = (n for n in range(len(system.texts)) if _is_bad(texts, system, n))
    order = sorted(bad, key=lambda n: (system.faults[n] is None, system.scores[n]))
    once: dict[tuple[str, str], int] = {}
    for n in order:
        once.setdefault((texts["sources"][n], system.texts[n]), n)
    return [_shown(texts, system, n) for n in [*once.values()][:most]]


def side_by_side(
    texts: Mapping[str, Any], systems: Mapping[str, Judged], most: int
) -> list[Beside]:
    """Return segments from all over the test set as every system has them."""
    count = len(texts["sources"])
    step = max(1, count // most)
    return [
        Beside(
            n + 1,
            cut(texts["sources"][n]),
            cut(texts["references"][n]),
            [
                (name, cut(one.texts[n]), one.faults[n], one.scores[n])
                for name, one in systems.items()
            ],
        )
        for n in range(0, count, step)
    ][:most]


def _judged(
    texts: Mapping[str, Any], answers: Sequence[str], known: Any, pair: LanguagePair
) -> Judged:
    if known is not None:
        return Judged(answers, known["fault"], known["chrf"])
    sources, references = texts["sources"], texts["references"]
    rows = [Answered(*row) for row in zip(sources, references, answers, strict=True)]
    faults = [None if fault is None else str(fault) for fault in faults_of(rows, pair)]
    return Judged(answers, faults, [float(one) for one in chrf_of_each(answers, references)])


def _is_bad(texts: Mapping[str, Any], system: Judged, n: int) -> bool:
    return system.faults[n] is not None or system.texts[n] != texts["references"][n]


def _shown(texts: Mapping[str, Any], system: Judged, n: int) -> Shown:
    answer, reference = compared(system.texts[n], texts["references"][n])
    return Shown(
        n + 1, cut(texts["sources"][n]), answer, reference, system.faults[n], system.scores[n]
    )
