"""Cleaning: segments in, the good ones out, and a report of what went and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.clean.rules import Rule
from training.corpus.segment import Segment

_SAMPLES_PER_RULE = 5


@dataclass
class CleanReport:
    """How many pairs were read, kept and dropped by each rule, with a few of the dropped."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[Segment]] = field(default_factory=dict)

    def counts(self) -> dict[str, Any]:
        """Return the report without the samples as plain JSON values."""
        return {"read": self.read, "kept": self.kept, "dropped": dict(self.dropped)}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            **self.counts(),
            "samples": {name: [s.to_json() for s in kept] for name, kept in self.samples.items()},
        }

    def __add__(self, other: CleanReport) -> CleanReport:
        """Return the report on both texts."""
        names = [*self.dropped, *(name for name in other.dropped if name not in self.dropped)]
        return CleanReport(
            read=self.read + other.read,
            kept=self.kept + other.kept,
            dropped={n: self.dropped.get(n, 0) + other.dropped.get(n, 0) for n in names},
            samples={
                n: [*self.samples.get(n, []), *other.samples.get(n, [])][:_SAMPLES_PER_RULE]
                for n in names
            },
        )


def clean(
    segments: Iterable[Segment], rules: Mapping[str, Rule]
) -> tuple[list[Segment], CleanReport]:
    """Return the pairs that no rule drops, unchanged and in order, and the report.

    Rules that look for duplicates know what earlier calls with them have seen.
    """
    report = CleanReport(dropped=dict.fromkeys(rules, 0), samples={name: [] for name in rules})
    kept = []
    for segment in segments:
        report.read += 1
        broken = next((name for name, must_go in rules.items() if must_go(segment)), None)
        if broken is None:
            kept.append(segment)
            continue
        report.dropped[broken] += 1
        if len(report.samples[broken]) < _SAMPLES_PER_RULE:
            report.samples[broken].append(segment)
    report.kept = len(kept)
    return kept, report
